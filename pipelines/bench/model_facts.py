"""What the models of a benchmark are: parameters, pictures trained on, and the weights' digest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nitrogen.model.config_file import CONFIG, read_config
from nitrogen.model.pipeline import Pipeline
from nitrogen.pipelines.atomic_json import read_json
from nitrogen.pipelines.bench.models import thin_directory, weights_digest
from nitrogen.pipelines.trained_models import Role, model_directory

ROLES: tuple[Role, ...] = ("teacher", "student")


def model_facts(run: Path | None, thin: Sequence[Path] = ()) -> dict[str, dict[str, Any]]:
    """parameters, num_images and sha256 of teacher, student and thin models; the student's hold its
    predictor's. num_images: of the last training, None where nothing tells."""
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
    }


def _num_images(directory: Path) -> int | None:
    """As the model's own facts have it, or the result of the step whose folder it lies in."""
    stored = read_config(directory / CONFIG).get("facts", {}).get("num_images")
    result = read_json(directory.parent / "result.json")
    found = stored or (result.get("num_images") if isinstance(result, dict) else None)
    return int(found) if found else None
