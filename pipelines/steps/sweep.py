"""Sweep: gating penalties by Ray Tune and Optuna on two objectives, thresholds inside a trial."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from nitrogen.pipelines.placement import beside_gpu
from nitrogen.pipelines.sampling import SolverName
from nitrogen.pipelines.training.config import PredictorOptimConfig, TrialConfig
from nitrogen.platform.errors import ConfigError
from nitrogen.platform.sweep_space import distributions

if TYPE_CHECKING:
    import numpy as np

    from nitrogen.pipelines.context import StepContext
    from nitrogen.pipelines.sampling import Draws

SEARCHED = ("gating_penalty", "threshold")
METRIC = "same-seed RMSE to the teacher"


class SweepConfig(BaseModel):
    """The `sweep:` section of a recipe.

    space               what the search draws: gating_penalty (trained for) and threshold
    thresholds, budgets scored inside every trial; they cost no training
    optim, student      of the predictor's tuning in a trial; the denoiser is as it was distilled
    reference_steps     of the teacher's run that distances are taken to
    schedule_moves      changes that the search for schedules of widths tries for each budget (they
                        are what policy `static` plays); 0 searches none
    max_distance_ratio  the chosen point is the cheapest whose distance is at most this times the
                        full model's at num_inference_steps; the nearest one if none is
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_trials: int = Field(4, ge=1, le=1000)
    max_concurrent: int = Field(1, ge=1)
    space: dict[str, Any] = Field(
        default_factory=lambda: {
            "gating_penalty": {"low": 1e-3, "high": 0.3, "log": True},
            "threshold": {"low": 1e-4, "high": 3e-2, "log": True},
        }
    )
    thresholds: tuple[Annotated[float, Field(ge=0, le=4)], ...] = (3e-4, 1e-3, 3e-3, 1e-2)
    budgets: tuple[Annotated[float, Field(gt=0, le=2)], ...] = (0.5, 0.6, 0.7, 0.8)
    student: TrialConfig = TrialConfig()
    optim: PredictorOptimConfig = PredictorOptimConfig(num_images=6_000, warmup_images=500)
    num_images: int = Field(64, ge=4)  # seeds that every setting is scored on
    num_inference_steps: int = Field(12, ge=2, le=1000)
    solver: SolverName = "dpmpp_2m"
    reference_steps: int = Field(32, ge=4, le=1000)
    full_steps: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = Field(
        (4, 6, 8, 10, 12), min_length=1
    )
    schedule_moves: int = Field(0, ge=0, le=1000)
    max_distance_ratio: float = Field(3.0, gt=0)
    prune: bool = True

    @field_validator("space")
    @classmethod
    def _known(cls, space: dict[str, Any]) -> dict[str, Any]:
        if set(space) != set(SEARCHED):
            raise ValueError(
                f"space must name {' and '.join(SEARCHED)}, got {', '.join(space) or 'nothing'}. "
                "Give a fixed value as choices with one entry."
            )
        try:
            distributions(space)
        except ConfigError as error:  # its own path is the field's, which pydantic adds
            raise ValueError(str(error).removeprefix("space.")) from error
        return space


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
    from nitrogen.model.pipeline import CONFIG, WEIGHTS

    executor, student = context.settings, model_of(context, "distill", "student")
    described = json.loads((reference.teacher / CONFIG).read_text())
    own = json.loads((student / CONFIG).read_text())["arch"]
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
    }


def as_distilled(arch: dict[str, Any]) -> dict[str, Any]:
    """Of a student's architecture, what a trial may not change."""
    return {
        "strided": arch.get("strided", False),
        "stride_sigma_min": arch.get("stride_sigma_min"),
    }


def check_budgets(config: SweepConfig, arch: dict[str, Any]) -> None:
    """Raises ConfigError for a budget below the cheapest plan, before anything is trained.

    arch: the student's, which is what the trials sample, by its own solver.
    """
    from nitrogen.model.budget import Ledger
    from nitrogen.model.config import ArchConfig
    from nitrogen.model.cost import CostModel
    from nitrogen.model.errors import BudgetError
    from nitrogen.model.predictor import predictor_flops
    from nitrogen.model.solvers import solver_for

    shape = ArchConfig(**arch)
    cost = CostModel(shape, shape.image_size, shape.image_size)
    heun = solver_for(shape.strided, config.solver) == "heun"
    predictor = predictor_flops(shape, cost.num_regions)
    ledger = Ledger(cost, config.num_inference_steps, False, heun, predictor)
    for budget in config.budgets:
        try:
            ledger.ceiling(budget)
        except BudgetError as error:
            raise ConfigError(f"sweep.budgets: {error}") from None


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
