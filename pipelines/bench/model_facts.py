"""What the models of a benchmark are: parameters, pictures trained on, and the weights' digest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from nitrogen.model.config_file import CONFIG, read_config
from nitrogen.model.pipeline import Pipeline
from nitrogen.pipelines.atomic_json import read_json
from nitrogen.pipelines.bench.models import model_digest, thin_directory, weights_digest
from nitrogen.pipelines.trained_models import Role, model_directory

ROLES: tuple[Role, ...] = ("teacher", "student")
TRAININGS = "trainings.yaml"  # beside the models: of each, one after the other


def model_facts(run: Path | None, thin: Sequence[Path] = ()) -> dict[str, dict[str, Any]]:
    """parameters, num_images, sha256 of the weights and digest of all that sampling reads, of
    teacher, student and thin models; the student's hold its predictor's. num_images: of all its
    trainings where they are told, else of the last; None where nothing tells."""
    directories = {str(role): model_directory(run, role) for role in ROLES}
    directories |= {f"thin {path.name}": thin_directory(path) for path in thin}
    return {name: _facts(directory) for name, directory in directories.items()}


def _facts(directory: Path) -> dict[str, Any]:
    pipeline = Pipeline.load(directory)
    networks = [pipeline.denoiser, pipeline.predictor]
    sizes = [sum(p.numel() for p in network.parameters()) for network in networks if network]
    return {
        "parameters": sum(sizes),
        "num_images": _num_images(directory),
        "sha256": weights_digest(directory),
        "digest": model_digest(directory),
    }


def _num_images(directory: Path) -> int | None:
    """As the trainings beside the model sum up to, the last of which has to be its own; else the
    model's own facts, or the result of the step whose folder it lies in."""
    stored = read_config(directory / CONFIG).get("facts", {}).get("num_images")
    told = _trainings(directory)
    if stored and told and told[-1] == stored:
        return sum(told)
    result = read_json(directory.parent / "result.json")
    found = stored or (result.get("num_images") if isinstance(result, dict) else None)
    return int(found) if found else None


def _trainings(directory: Path) -> list[int]:
    """Pictures of each one that the model's folder tells of; none where it tells of none."""
    file = directory.parent / TRAININGS
    if not file.is_file():
        return []
    told = yaml.safe_load(file.read_text()).get(directory.name, [])
    return [int(training["num_images"]) for training in told]
