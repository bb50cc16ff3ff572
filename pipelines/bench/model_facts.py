"""What the models of a benchmark are: parameters, and the digest that names their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nitrogen.model.pipeline import Pipeline
from nitrogen.pipelines.bench.models import weights_digest
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
        found[role] = {"parameters": sum(sizes), "sha256": weights_digest(directory)}
    return found
