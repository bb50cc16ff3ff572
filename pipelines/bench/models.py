"""What a benchmark compares: teacher, student, thin models, and the data they learned from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nitrogen.model.config import ArchConfig
from nitrogen.model.config_file import CONFIG, read_config
from nitrogen.model.cost import CostModel
from nitrogen.model.model_directory import WEIGHTS, late_weights
from nitrogen.model.pipeline import Pipeline
from nitrogen.pipelines.data.loader import ShardDataset
from nitrogen.pipelines.data.manifest import Manifest
from nitrogen.pipelines.data.shipped import SCENES
from nitrogen.pipelines.run_folder import RunFolder
from nitrogen.pipelines.summary import read_summary
from nitrogen.pipelines.trained_models import DEFAULT, model_directory, shipped_name
from nitrogen.platform.errors import ConfigError, DataError

# Which split each part may look at: schedules are tuned on one, reported on another.
TUNE_SPLIT, REPORT_SPLIT, TRAIN_SPLIT = "validation", "test", "train"


@dataclass(frozen=True)
class Models:
    """teacher: the full model; student: with its predictor; thin: trained from scratch.

    digests: sha256 of what each model is, by its name, so that a row depends on its own model
    alone; data_uri: the prepared data set; name and data_digest: of it.
    """

    teacher: Pipeline
    student: Pipeline
    thin: dict[str, Pipeline]
    digests: Mapping[str, str]
    data_uri: str
    name: str
    data_digest: str

    @property
    def arch(self) -> ArchConfig:
        return self.teacher.arch

    @property
    def cost(self) -> CostModel:
        """Of the teacher: the unit of every ceiling is its forward."""
        return self.cost_of("teacher")

    def cost_of(self, name: str) -> CostModel:
        arch = self.get(name).arch
        return CostModel(arch, arch.image_size, arch.image_size)

    def get(self, name: str) -> Pipeline:
        """teacher, student, or a thin model by its name."""
        return {"teacher": self.teacher, "student": self.student, **self.thin}[name]


def load_models(
    run: Path | None = None, thin: Sequence[Path] = (), data: str | None = None
) -> Models:
    """The models of a run folder, or the shipped ones; thin: run folders or model directories;
    data: folder or bucket of their pictures, by default those that the run prepared.

    Raises ConfigError, DataError or WeightsError for what is not there, and DataError for a thin
    model or a data set of other pictures.
    """
    directories = {role: model_directory(run, role) for role in ("teacher", "student")}
    directories |= {f"thin {path.name}": thin_directory(path) for path in thin}
    loaded = {name: Pipeline.load(path) for name, path in directories.items()}
    teacher, student = loaded.pop("teacher"), loaded.pop("student")
    if student.predictor is None:
        raise DataError(
            f"{directories['student']} must hold a student with a predictor, got one without. "
            "Distil one, or name another run."
        )
    for name, path in zip(loaded, thin, strict=True):
        _check_thin(path, loaded[name], teacher)
    digests = {name: model_digest(path) for name, path in directories.items()}
    uri = data or data_uri(run)
    manifest = ShardDataset(uri, REPORT_SPLIT).manifest
    if data:
        check_classes(manifest, teacher)
    shown = shown_name(manifest.name, manifest.image_size[0], teacher.image_size)
    return Models(teacher, student, loaded, digests, uri, shown, manifest.digest)


def check_classes(data: Manifest, teacher: Pipeline) -> None:
    """Raises DataError unless --data holds the classes that the teacher draws."""
    if list(data.classes) != list(teacher.classes):
        raise DataError(
            f"--data must hold the teacher's {len(teacher.classes)} classes, got other ones in "
            f"{data.name}. Prepare the pictures that it was trained on."
        )


def shown_name(name: str, stored: int, drawn: int) -> str:
    """The data set's name, and the size in px that a benchmark draws it at where that is another
    one than it is `stored` at."""
    return name if stored == drawn else f"{name} at {drawn} px"


def data_uri(run: Path | None) -> str:
    """The data set that a run prepared; the bundled emoji for the weights shipped of them.

    Raises ConfigError for shipped weights of another data set.
    """
    shipped = shipped_name(run)
    if shipped == DEFAULT:
        return "bundled:emoji"
    if shipped is not None or run is None:
        raise ConfigError(
            f"--data must name the pictures of the shipped weights of {shipped}, got none. Prepare "
            "them as recipe.yaml beside the weights says: nitrogen data prepare SOURCE --out ..."
        )
    row = read_summary(run).get("steps", {}).get("prepare")
    record = RunFolder(run).record("prepare", row["key"]) if row else "there is none"
    if isinstance(record, str):
        raise DataError(
            f"{run} must hold the result of prepare, but {record}. Run the recipe again."
        )
    return str(record.result["data_uri"])


def pictures(uri: str, split: str, image_size: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [n, s, s, 3] of one split, reduced by area to image_size, and the labels int64 [n].

    Raises DataError for pictures that are not a whole multiple of image_size.
    """
    if uri == SCENES:
        raise DataError(f"data must be prepared, got {uri}. Run nitrogen data prepare first.")
    data = ShardDataset(uri, split)
    side = data.image_size[0]
    if side % image_size:
        raise DataError(
            f"pictures must be a multiple of {image_size} px, got {side}. Prepare them anew."
        )
    if side == image_size:
        return np.asarray(data.images), data.labels
    k = side // image_size
    parts = np.asarray(data.images).reshape(len(data), image_size, k, image_size, k, 3)
    reduced = [np.round(part.mean(axis=(1, 3))).astype(np.uint8) for part in parts]
    return np.stack(reduced), data.labels


def thin_directory(path: Path) -> Path:
    """The model directory that --thin names: itself, or that of the teacher of a run folder."""
    if (path / WEIGHTS).is_file():
        return path
    return model_directory(path, "teacher")


def _check_thin(path: Path, thin: Pipeline, teacher: Pipeline) -> None:
    """Raises DataError unless both draw the same classes at the same size."""
    if (thin.classes, thin.image_size) == (teacher.classes, teacher.image_size):
        return
    raise DataError(
        f"--thin must be a model of the teacher's {len(teacher.classes)} classes at "
        f"{teacher.image_size} px, got {len(thin.classes)} of its own at {thin.image_size} px in "
        f"{path}. Train it on the same data set: nitrogen run thin32 --set prepare.source=..."
    )


def weights_digest(directory: Path) -> str:
    """sha256 of a model's weights."""
    return file_digest(directory / WEIGHTS)


def file_digest(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def model_digest(directory: Path) -> str:
    """sha256 of the weights and of all in config.json that sampling reads, prices included."""
    content = read_config(directory / CONFIG)
    read = {name: value for name, value in sorted(content.items()) if name != "facts"}
    digest = hashlib.sha256(json.dumps(read, sort_keys=True).encode())
    files = [directory / WEIGHTS] + ([late_weights(directory)] if "relay" in content else [])
    for path in files:
        digest.update(bytes.fromhex(file_digest(path)))
    return digest.hexdigest()
