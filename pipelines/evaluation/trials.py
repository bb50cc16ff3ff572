"""The trials of a sweep: run through Ray Tune or in this process, shown, logged and collected."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nitrogen.pipelines.evaluation.trial import POINTS, STUDENT, run_trial
from nitrogen.platform import storage
from nitrogen.platform.errors import TrainingError

if TYPE_CHECKING:
    from nitrogen.pipelines.context import StepContext
    from nitrogen.pipelines.steps.sweep_config import SweepConfig
    from nitrogen.platform.sweep_journal import Trial


def run_trials(config: SweepConfig, settings: dict[str, Any], context: StepContext) -> list[Trial]:
    """All trials; settings: what each is given, see `run_trial`."""
    objective = partial(run_trial, settings=settings)
    show = TrialWatcher(config.num_trials, context)
    if context.executor == "local":
        from nitrogen.pipelines.evaluation.local_sweep import run_local_sweep

        return run_local_sweep(
            objective, config.space, folder=Path(context.dir).absolute() / "trials",
            num_trials=config.num_trials, seed=context.seed, on_trial=show,
        )  # fmt: skip
    from nitrogen.platform.sweeps import run_sweep

    found = run_sweep(
        objective, config.space, name="trials", storage_path=context.of_workers(""),
        num_trials=config.num_trials, max_concurrent=config.max_concurrent, seed=context.seed,
        resources_per_trial={"CPU": 1, "GPU": 1} if context.settings.use_gpu else {"CPU": 1},
        check_resources=context.settings.kind == "embedded",  # a cluster may grow
        prune=config.prune, grace_reports=0, on_trial=show,
    )  # fmt: skip
    fetch_trials(context)
    return found.trials


def fetch_trials(context: StepContext) -> None:
    """What the trials of a cluster left in the bucket of its run, into this step's folder."""
    if context.mirror is None:
        return
    folder = Path(context.dir).absolute() / "trials"
    for name in storage.list_files(context.of_workers("trials")):
        storage.download(storage.join(context.of_workers("trials"), name), folder / name)


class TrialWatcher:
    """Shows each finished trial, and logs it as a child run."""

    def __init__(self, num_trials: int, context: StepContext):
        self._total, self._context, self._done = num_trials, context, 0

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
    """Every scored setting of every complete trial; `student` is relative to the step.

    Raises TrainingError, with the trials' errors, when none is complete.
    """
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
    """The trial as it stands in the step's result."""
    return {
        "index": trial.index,
        "config": trial.config,
        "metrics": trial.metrics,
        "state": trial.state,
        "seconds": trial.seconds,
        "error": trial.error,
    }
