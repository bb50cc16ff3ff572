"""Sweep: gating penalties by Ray Tune and Optuna on two objectives, thresholds inside a trial."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nitrogen.pipelines.placement import beside_gpu
from nitrogen.pipelines.steps.sweep_config import SweepConfig, check_budgets

if TYPE_CHECKING:
    import numpy as np

    from nitrogen.pipelines.context import StepContext
    from nitrogen.pipelines.sampling import Draws

METRIC = "same-seed RMSE to the teacher"


@dataclass(frozen=True)
class Reference:
    """What distances are taken to: the teacher's pictures uint8 [n, h, w, 3] of the sweep's seeds.

    teacher: its model directory; path: the file that holds the pictures.
    """

    teacher: Path
    drawn: Draws
    images: np.ndarray
    path: Path


def run(config: SweepConfig, context: StepContext) -> dict[str, Any]:
    """Returns points, pareto, full_curve, static_curve, chosen {settings, ...}, choice {within,
    reason, ...}, student, trials."""
    from nitrogen.pipelines.evaluation.sweep_curves import choose, pareto_front
    from nitrogen.pipelines.evaluation.trials import collect_points, run_trials, trial_row

    reference = draw_reference(config, context)
    trials = run_trials(config, trial_settings(config, context, reference), context)
    points = collect_points(trials, Path(context.dir))
    context.progress.message("the full model with fewer steps, and the student's static widths")
    curve = teacher_curve(config, context, reference)
    choice = choose(points, own_distance(curve, config), config.max_distance_ratio)
    chosen = choice.point
    context.progress.message(
        f"chosen: {chosen['label']}, {chosen['gflops']:.3g} GFLOPs, distance "
        f"{chosen['distance']:.3g}: {choice.reason}"
    )
    student = keep_student(chosen, context)
    if config.schedule_moves:
        context.progress.message("schedules of widths")
        keep_schedules(config, context, reference, student)
    return {
        "metric": METRIC,
        "split": f"validation, n = {len(reference.drawn)}",
        "points": points,
        "pareto": pareto_front(points),
        "full_curve": curve,
        "static_curve": student_curve(config, context, reference, student),
        "chosen": chosen,
        "choice": choice.to_dict(),
        "student": student.name,
        "num_trials": len(trials),
        "trials": [trial_row(trial) for trial in trials],
    }


def draw_reference(config: SweepConfig, context: StepContext) -> Reference:
    """Draws the sweep's seeds, and the teacher's pictures of them into the step's folder."""
    from nitrogen.pipelines.data.loader import ShardDataset
    from nitrogen.pipelines.evaluation.sweep_curves import teacher_images
    from nitrogen.pipelines.evaluation.trial import write_reference
    from nitrogen.pipelines.sampling import draws

    teacher, executor = model_of(context, "pretrain", "teacher"), context.settings
    labels = ShardDataset(context.inputs["prepare"]["data_uri"], "validation").labels
    drawn = draws("sweep", config.num_images, labels, context.seed)
    images = beside_gpu(
        executor,
        partial(
            teacher_images, context.for_workers(teacher), drawn, config.reference_steps,
            config.solver, executor.device, executor.sampling_precision,
        ),
    )  # fmt: skip
    path = Path(context.dir).absolute() / "reference.npz"
    write_reference(path, drawn, images)
    return Reference(teacher, drawn, images, path)


def trial_settings(
    config: SweepConfig, context: StepContext, reference: Reference
) -> dict[str, Any]:
    """What every trial is given; see `run_trial`."""
    from nitrogen.model.config_file import CONFIG
    from nitrogen.model.model_directory import WEIGHTS

    executor, student = context.settings, model_of(context, "distill", "student")
    described = json.loads((reference.teacher / CONFIG).read_text())
    distilled = json.loads((student / CONFIG).read_text())
    own = distilled["arch"]
    check_budgets(config, own)
    return {
        "arch": described["arch"],
        "student": config.student.model_dump(mode="json") | as_distilled(own),
        "optim": config.optim.model_dump(mode="json"),
        "data_uri": context.for_workers(context.inputs["prepare"]["data_uri"]),
        "seed": context.seed,
        "device": executor.device,
        "precision": executor.precision,
        "sampling_precision": executor.sampling_precision,
        "teacher": context.for_workers(reference.teacher / WEIGHTS),
        "start": context.for_workers(student / WEIGHTS),
        "thresholds": config.thresholds,
        "budgets": config.budgets,
        "num_inference_steps": config.num_inference_steps,
        "solver": config.solver,
        "reference": context.for_workers(reference.path),
        "described": described,
        "relay": distilled.get("relay"),
    }


def as_distilled(arch: dict[str, Any]) -> dict[str, Any]:
    """Of a student's architecture, what a trial may not change."""
    return {
        "strided": arch.get("strided", False),
        "stride_sigma_min": arch.get("stride_sigma_min"),
    }


def teacher_curve(
    config: SweepConfig, context: StepContext, reference: Reference
) -> list[dict[str, Any]]:
    """The full model with fewer steps: what a sweep has to beat."""
    from nitrogen.pipelines.evaluation.sweep_curves import full_curve

    return beside_gpu(
        context.settings,
        partial(
            full_curve, context.for_workers(reference.teacher), reference.drawn, reference.images,
            curve_steps(config), config.solver, **where(context),
        ),
    )  # fmt: skip


def student_curve(
    config: SweepConfig, context: StepContext, reference: Reference, student: Path
) -> list[dict[str, Any]]:
    """The chosen student's own static widths."""
    from nitrogen.pipelines.evaluation.sweep_curves import static_curve

    return beside_gpu(
        context.settings,
        partial(
            static_curve, context.for_workers(student), reference.drawn, reference.images,
            config.num_inference_steps, config.solver, **where(context),
        ),
    )  # fmt: skip


def curve_steps(config: SweepConfig) -> tuple[int, ...]:
    """full_steps, and the student's own, which the bound on distance is taken from."""
    return tuple(sorted({*config.full_steps, config.num_inference_steps}))


def own_distance(curve: list[dict[str, Any]], config: SweepConfig) -> float:
    """The full model's distance at the student's steps."""
    steps = config.num_inference_steps
    return next(row["distance"] for row in curve if row["num_inference_steps"] == steps)


def keep_student(chosen: dict[str, Any], context: StepContext) -> Path:
    """The chosen trial's student as this step's `student`; the trials keep theirs."""
    student = Path(context.dir) / "student"
    shutil.rmtree(student, ignore_errors=True)
    shutil.copytree(Path(context.dir) / chosen["student"], student)
    return student


def keep_schedules(
    config: SweepConfig, context: StepContext, reference: Reference, student: Path
) -> None:
    """Searches the schedules of the chosen student and lays them beside its weights."""
    from nitrogen.model.config_file import write_schedules
    from nitrogen.pipelines.evaluation.schedules import searched

    found = beside_gpu(
        context.settings,
        partial(
            searched, context.for_workers(student), reference.drawn, reference.images,
            config.num_inference_steps, config.schedule_moves, **where(context),
        ),
    )  # fmt: skip
    if found.rows:  # none of its widths fits its budgets: equal shares then
        write_schedules(student, found)


def where(context: StepContext) -> dict[str, str]:
    """Device and precision of pictures, as the curves take them."""
    return {
        "device": context.settings.device,
        "precision": context.settings.sampling_precision,
    }


def model_of(context: StepContext, step: str, name: str) -> Path:
    """The model directory that an earlier step left."""
    output = context.inputs[step]
    return (Path(output.dir) / output[name]).absolute()


def estimate_seconds(config: SweepConfig) -> float:
    """Rough time on 2 cores with preset tiny, for `--plan`."""
    scored = len(config.thresholds) + len(config.budgets) + 1
    rounds = config.num_trials / min(config.max_concurrent, 2)
    tried = config.schedule_moves and 4 * (1 + config.schedule_moves)
    return 30 + rounds * (10 + config.optim.num_images / 300 + scored * 2.5) + tried * 2.5
