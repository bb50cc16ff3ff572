"""One trial of the sweep: tune the predictor under a gating penalty, then score every setting."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nitrogen.model.config_file import write_prices, write_relay
from nitrogen.model.pipeline import Pipeline
from nitrogen.model.prices import STEPS, measure_prices, priced
from nitrogen.pipelines.metrics.psnr import same_seed
from nitrogen.pipelines.precision import autocast
from nitrogen.pipelines.sampling import Draws, OperatingPoint, mean, student_images
from nitrogen.platform.storage_copies import local_copy, workspace

POINTS, STUDENT = "points.json", "student"


class Report(Protocol):
    """See nitrogen.platform.sweeps.Report."""

    folder: str

    def __call__(self, metrics: Mapping[str, float]) -> None: ...


def run_trial(params: dict[str, Any], report: Report, settings: dict[str, Any]) -> dict[str, float]:
    """The objective of the sweep.

    params: gating_penalty, threshold (the one whose score the search is told).
    report: called once the trial has a first score; `report.folder` is its own directory.
    settings: arch, student (its config), optim, data_uri, seed, device, precision (of the tuning),
    sampling_precision, teacher, start (weights files), thresholds, num_inference_steps, solver,
    reference (.npz with images, labels and seeds), described (the teacher's config.json),
    budgets, relay (of config.json, or None).
    Returns distance (mean same-seed RMSE to the reference) and gflops at params["threshold"].
    """
    with workspace(report.folder) as directory:
        return _score_all(params, report, settings, directory)


def _score_all(
    params: dict[str, Any], report: Report, settings: dict[str, Any], directory: Path
) -> dict[str, float]:
    pipeline = tuned_student(params, settings, directory)
    own = score(pipeline, at_threshold(params["threshold"], settings), settings)
    report({"distance": own["distance"], "gflops": own["gflops"]})
    others = [at_threshold(threshold, settings) for threshold in settings["thresholds"]]
    others += [at_budget(budget, settings) for budget in settings["budgets"]]
    points = [own, *(score(pipeline, point, settings) for point in others)]
    temporary = directory / (POINTS + ".partial")
    temporary.write_text(json.dumps({"params": params, "points": points}))
    temporary.replace(directory / POINTS)
    return {"distance": own["distance"], "gflops": own["gflops"]}


def tuned_student(params: dict[str, Any], settings: dict[str, Any], directory: Path) -> Pipeline:
    """The distilled student with a predictor trained on under this trial's gating penalty, and
    the prices that go with it."""
    from nitrogen.pipelines.steps.distill import TRAIN_FN, save_student
    from nitrogen.pipelines.training.config import StudentConfig
    from nitrogen.platform.training import run_local

    student = {
        **settings["student"],
        "gating_penalty": params["gating_penalty"],
        "train_denoiser": False,
    }
    names = ("arch", "optim", "data_uri", "seed", "precision", "teacher", "start", "relay")
    config = {name: settings[name] for name in names} | {"student": student}
    device, trained = settings["device"], StudentConfig(**student)
    result = run_local(TRAIN_FN, config, directory / "training", device=device)
    save_student(
        settings["described"], trained, result.checkpoint, directory / STUDENT,
        settings["relay"], Path(local_copy(settings["teacher"])),
    )  # fmt: skip
    pipeline = Pipeline.load(directory / STUDENT).to(device)
    assert pipeline.predictor is not None, "a student has a predictor"
    with autocast(device, settings["sampling_precision"]):
        steps = sorted({*STEPS, settings["num_inference_steps"]})  # budgets are scored at those
        pipeline.prices = measure_prices(pipeline.denoiser, pipeline.predictor, steps)
        if pipeline.relay:
            pipeline.relay = priced(pipeline.relay, pipeline.denoiser, pipeline.predictor)
    write_prices(directory / STUDENT, pipeline.prices)
    if pipeline.relay:
        write_relay(directory / STUDENT, pipeline.relay)
    return pipeline


def at_threshold(threshold: float, settings: dict[str, Any]) -> OperatingPoint:
    """The student at this threshold, never above what the full model spends on its steps.

    Without that ceiling a threshold that no region reaches costs the full model and the predictor:
    1.006 of the full compute in the demo, which the gate on compute then refuses.
    """
    return OperatingPoint(
        policy="threshold",
        threshold=threshold,
        budget=1.0,
        num_inference_steps=settings["num_inference_steps"],
        solver=settings["solver"],
    )


def at_budget(budget: float, settings: dict[str, Any]) -> OperatingPoint:
    """The student under this budget, a share of what the full model spends on its steps."""
    return OperatingPoint(
        policy="budget",
        budget=budget,
        num_inference_steps=settings["num_inference_steps"],
        solver=settings["solver"],
    )


def score(pipeline: Pipeline, point: OperatingPoint, settings: dict[str, Any]) -> dict[str, Any]:
    """{gflops, distance, label, settings}: means over the reference's seeds."""
    drawn, reference = read_reference(local_copy(settings["reference"]))
    with autocast(settings["device"], settings["sampling_precision"]):
        images, stats = student_images(pipeline, point, drawn)
    return {
        "gflops": mean([s.gflops for s in stats]),
        "distance": mean(same_seed(images, reference).rmse),
        "label": point.label,
        "settings": point.model_dump(mode="json"),
    }


def write_reference(path: Path, drawn: Draws, images: np.ndarray) -> None:
    """The teacher's pictures that distances are taken to, with their labels and seeds."""
    np.savez(path, images=images, labels=np.array(drawn.labels), seeds=np.array(drawn.seeds))


def read_reference(path: Path) -> tuple[Draws, np.ndarray]:
    with np.load(path, allow_pickle=False) as stored:
        return Draws(stored["labels"].tolist(), stored["seeds"].tolist()), stored["images"]
