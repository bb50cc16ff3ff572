"""Sweep: gating penalties by Ray Tune and Optuna on two objectives, thresholds inside a trial."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from nitrogen.pipelines.placement import beside_gpu
from nitrogen.pipelines.sampling import SolverName
from nitrogen.pipelines.training.config import OptimConfig, StudentConfig
from nitrogen.platform import storage
from nitrogen.platform.errors import ConfigError
from nitrogen.platform.sweep_space import distributions

if TYPE_CHECKING:
    from nitrogen.pipelines.context import StepContext
    from nitrogen.pipelines.sampling import Draws
    from nitrogen.platform.sweep_journal import Trial

SEARCHED = ("gating_penalty", "threshold")
METRIC = "same-seed RMSE to the teacher"


class SweepConfig(BaseModel):
    """The `sweep:` section of a recipe.

    space               what the search draws: gating_penalty (trained for) and threshold
    thresholds          scored inside every trial; they cost no training
    optim, student      of the predictor's tuning in a trial; strided is as it was distilled
    reference_steps     of the teacher's run that distances are taken to
    max_distance_ratio  the chosen point is the cheapest whose distance is at most this times the
                        full model's at num_inference_steps
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
    student: StudentConfig = StudentConfig()
    optim: OptimConfig = OptimConfig(num_images=6_000, learning_rate=1e-3, warmup_images=500)
    num_images: int = Field(64, ge=4)  # seeds that every setting is scored on
    num_inference_steps: int = Field(12, ge=2, le=1000)
    solver: SolverName = "dpmpp_2m"
    reference_steps: int = Field(32, ge=4, le=1000)
    full_steps: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = Field(
        (4, 6, 8, 10, 12), min_length=1
    )
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


def run(config: SweepConfig, context: StepContext) -> dict[str, Any]:
    """Returns points, pareto, full_curve, static_curve, chosen {settings, ...}, student, trials."""
    from nitrogen.pipelines.evaluation.sweep_curves import (
        choose,
        full_curve,
        pareto_front,
        static_curve,
    )

    settings, drawn, reference = prepare_reference(config, context)
    trials = run_trials(config, settings, context)
    points = collect_points(trials, Path(context.dir))
    teacher, executor = model_of(context, "pretrain", "teacher"), context.settings
    where = {"device": executor.device, "precision": executor.sampling_precision}
    context.progress.message("the full model with fewer steps, and the student's static widths")
    curve = beside_gpu(
        executor,
        partial(
            full_curve, context.for_workers(teacher), drawn, reference, config.full_steps,
            config.solver, **where,
        ),
    )  # fmt: skip
    at_own_steps = [r for r in curve if r["num_inference_steps"] == config.num_inference_steps]
    base = (at_own_steps or curve)[-1]
    chosen = choose(points, base["distance"] * config.max_distance_ratio)
    student = Path(context.dir) / "student"
    shutil.rmtree(student, ignore_errors=True)
    shutil.copytree(Path(context.dir) / chosen["student"], student)
    static = beside_gpu(
        executor,
        partial(
            static_curve, context.for_workers(student), drawn, reference,
            config.num_inference_steps, config.solver, **where,
        ),
    )  # fmt: skip
    return {
        "metric": METRIC,
        "split": f"validation, n = {len(drawn)}",
        "points": points,
        "pareto": pareto_front(points),
        "full_curve": curve,
        "static_curve": static,
        "chosen": chosen,
        "student": "student",
        "num_trials": len(trials),
        "trials": [trial_row(trial) for trial in trials],
    }


def prepare_reference(
    config: SweepConfig, context: StepContext
) -> tuple[dict[str, Any], Draws, Any]:
    """What every trial is given, the seeds of the sweep, and the teacher's pictures of them."""
    from nitrogen.model.pipeline import CONFIG, WEIGHTS
    from nitrogen.pipelines.data.loader import ShardDataset
    from nitrogen.pipelines.evaluation.sweep_curves import teacher_images
    from nitrogen.pipelines.evaluation.trial import write_reference
    from nitrogen.pipelines.sampling import draws

    data_uri = context.inputs["prepare"]["data_uri"]
    directory = model_of(context, "pretrain", "teacher")
    executor = context.settings
    labels = ShardDataset(data_uri, "validation").labels
    drawn = draws("sweep", config.num_images, labels, context.seed)
    reference = beside_gpu(
        executor,
        partial(
            teacher_images, context.for_workers(directory), drawn, config.reference_steps,
            config.solver, executor.device, executor.sampling_precision,
        ),
    )  # fmt: skip
    path = Path(context.dir).absolute() / "reference.npz"
    write_reference(path, drawn, reference)
    described = json.loads((directory / CONFIG).read_text())
    student = model_of(context, "distill", "student")
    strided = json.loads((student / CONFIG).read_text())["arch"].get("strided", False)
    settings = {
        "arch": described["arch"],
        "student": config.student.model_dump(mode="json") | {"strided": strided},
        "optim": config.optim.model_dump(mode="json"),
        "data_uri": context.for_workers(data_uri),
        "seed": context.seed,
        "device": executor.device,
        "precision": executor.precision,
        "sampling_precision": executor.sampling_precision,
        "teacher": context.for_workers(directory / WEIGHTS),
        "start": context.for_workers(student / WEIGHTS),
        "thresholds": config.thresholds,
        "num_inference_steps": config.num_inference_steps,
        "solver": config.solver,
        "reference": context.for_workers(path),
        "described": described,
    }
    return settings, drawn, reference


def run_trials(config: SweepConfig, settings: dict[str, Any], context: StepContext) -> list[Trial]:
    """The trials, through Ray Tune or in this process."""
    from nitrogen.pipelines.evaluation.local_sweep import run_local_sweep
    from nitrogen.pipelines.evaluation.trial import run_trial
    from nitrogen.platform.sweeps import run_sweep

    objective = partial(run_trial, settings=settings)
    show = TrialWatcher(config, context)
    folder = Path(context.dir).absolute()
    if context.executor == "local":
        return run_local_sweep(
            objective, config.space, folder=folder / "trials", num_trials=config.num_trials,
            seed=context.seed, on_trial=show,
        )  # fmt: skip
    found = run_sweep(
        objective, config.space, name="trials", storage_path=context.of_workers(""),
        num_trials=config.num_trials, max_concurrent=config.max_concurrent, seed=context.seed,
        resources_per_trial={"CPU": 1, "GPU": 1} if context.settings.use_gpu else {"CPU": 1},
        check_resources=context.settings.kind == "embedded",  # a cluster may grow
        prune=config.prune, grace_reports=0, on_trial=show,
    )  # fmt: skip
    if context.mirror is not None:
        for name in storage.list_files(context.of_workers("trials")):
            source = storage.join(context.of_workers("trials"), name)
            storage.download(source, folder / "trials" / name)
    return found.trials


class TrialWatcher:
    """Shows each finished trial, and logs it as a child run."""

    def __init__(self, config: SweepConfig, context: StepContext):
        self._total, self._context, self._done = config.num_trials, context, 0

    def __call__(self, trial: Trial) -> None:
        self._done += 1
        numbers = {k: v for k, v in trial.metrics.items() if isinstance(v, int | float)}
        self._context.progress.update(step=self._done, total=self._total, metrics=numbers)
        tracker, parent = self._context.tracker, self._context.run_id
        if tracker is None or parent is None:
            return
        key = f"{self._context.key}-trial-{trial.index}"
        run = tracker.start_run(key, f"trial {trial.index}", parent=parent)
        tracker.log_params(run, trial.config)
        tracker.log_metrics(run, numbers)
        tracker.finish(run, "FAILED" if trial.state == "FAIL" else "FINISHED")


def collect_points(trials: list[Trial], directory: Path) -> list[dict[str, Any]]:
    """Every scored setting of every complete trial; `student` is relative to the step."""
    from nitrogen.pipelines.evaluation.trial import POINTS, STUDENT
    from nitrogen.platform.errors import TrainingError

    points = []
    for path in sorted((directory / "trials").rglob(POINTS)):
        stored = json.loads(path.read_text())
        penalty = stored["params"]["gating_penalty"]
        where = str((path.parent / STUDENT).relative_to(directory))
        for point in stored["points"]:
            label = f"{point['label']}, penalty {penalty:.3g}"
            points.append({**point, "label": label, "gating_penalty": penalty, "student": where})
    if not points:
        states = ", ".join(f"{t.index}: {t.error or t.state}" for t in trials)
        raise TrainingError(f"sweep must complete a trial, got none ({states}). Read their errors.")
    return points


def trial_row(trial: Trial) -> dict[str, Any]:
    return {
        "index": trial.index,
        "config": trial.config,
        "metrics": trial.metrics,
        "state": trial.state,
        "seconds": trial.seconds,
        "error": trial.error,
    }


def model_of(context: StepContext, step: str, name: str) -> Path:
    """The model directory that an earlier step left."""
    output = context.inputs[step]
    return (Path(output.dir) / output[name]).absolute()


def estimate_seconds(config: SweepConfig) -> float:
    """Rough time on 2 cores with preset tiny, for `--plan`."""
    scored = len(config.thresholds) + 1
    return 30 + config.num_trials * (10 + config.optim.num_images / 300 + scored * 2.5)
