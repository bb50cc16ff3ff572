"""What the models of a benchmark are: parameters, and the digest that names their weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from nitrogen.model.pipeline import WEIGHTS, Pipeline
from nitrogen.pipelines.trained_models import Role, model_directory

ROLES: tuple[Role, ...] = ("teacher", "student")


def model_facts(run: Path | None) -> dict[str, dict[str, Any]]:
    """parameters and sha256 of teacher and student; the student's hold its predictor's."""
    found: dict[str, dict[str, Any]] = {}
    for role in ROLES:
        directory = model_directory(run, role)
        pipeline = Pipeline.load(directory)
        networks = [pipeline.denoiser, pipeline.predictor]
        sizes = [sum(p.numel() for p in network.parameters()) for network in networks if network]
        found[role] = {"parameters": sum(sizes), "sha256": digest(directory)}
    return found


def digest(directory: Path) -> str:
    """sha256 of a model's weights."""
    with open(directory / WEIGHTS, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
