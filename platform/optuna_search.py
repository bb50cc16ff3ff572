"""Tune's OptunaSearch, mended for two objectives, and pruning by dominance.

Tune 2.60 tells Optuna that a trial which a scheduler stopped is COMPLETE, so half-trained points
enter the Pareto front; a trial without one of its objectives stays RUNNING for ever, and Optuna 5
counts it as a bad one. Here a stopped trial is PRUNED and one without a result is FAIL.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from nitrogen.platform.errors import NitrogenError
from nitrogen.platform.sweep_journal import State, SweepJournal, Trial
from nitrogen.platform.sweep_space import dominates, objectives
from nitrogen.platform.sweep_trial import DONE_KEY, ERROR_KEY

logger = logging.getLogger(__name__)

TUNE_KEYS = {
    "timestamp", "time_this_iter_s", "time_total_s", "pid", "hostname", "node_ip", "config",
    "time_since_restore", "iterations_since_restore", "checkpoint_dir_name", "trial_id", "date",
    "done", "training_iteration", "should_checkpoint", "experiment_tag",
}  # fmt: skip


class StayingHere:
    """A callback of this process. Tune pickles its searcher, and a display cannot be pickled."""

    def __init__(self, call: Callable[[Trial], None] | None) -> None:
        self._call = call

    def __call__(self, trial: Trial) -> None:
        if self._call is not None:
            self._call(trial)

    def __reduce__(self) -> tuple[type[StayingHere], tuple[None]]:
        return StayingHere, (None,)


class SweepSearch(OptunaSearch):
    """Suggests configs, and writes each start and end into the journal.

    What trial `i` is given depends on the seed, on `i` and on what finished before it, so a sweep
    of one trial at a time that is resumed goes on as if it had not been cut off.
    """

    def __init__(
        self,
        space: Mapping[str, Any],
        metrics: Sequence[str],
        directions: Sequence[str],
        journal: SweepJournal,
        seed: int,
        sampler: Callable[[int], optuna.samplers.BaseSampler],
        on_trial: Callable[[Trial], None] | None = None,
    ) -> None:
        self._journal = journal
        self._sampler_for = sampler
        self._objectives = list(metrics)
        self._ranges = dict(space)
        self._sweep_seed = seed
        self._on_trial = StayingHere(on_trial)
        self._indices: dict[str, int] = {}
        self._began: dict[str, float] = {}
        super().__init__(
            space=dict(space),
            metric=list(metrics),
            mode=["min" if direction == "minimize" else "max" for direction in directions],
            sampler=sampler(seed),
        )
        self._recall()

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        interrupted = [i for i in self._journal.interrupted() if i not in self._indices.values()]
        index = interrupted[0] if interrupted else self._next_index()
        if interrupted:
            self._study.enqueue_trial(self._journal.started[index])
        self._study.sampler = self._sampler_for(self._sweep_seed + 7919 * index)
        self._ot_trials[trial_id] = self._study.ask(fixed_distributions=self._ranges)
        config = dict(self._ot_trials[trial_id].params)
        self._indices[trial_id] = index
        self._began[trial_id] = time.monotonic()
        if not interrupted:
            self._journal.start(index, config)
        return {
            "index": index,
            "config": config,
            "folder": self._journal.trial_folder(index, config),
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        if trial_id in self._completed_trials:
            return
        self._completed_trials.add(trial_id)
        values = objectives(result, self._objectives)
        state, reason = verdict(result, values, error)
        told = values if state == "COMPLETE" else None
        self._study.tell(self._ot_trials[trial_id], told, state=TrialState[state])
        index = self._indices[trial_id]
        trial = Trial(
            index=index,
            config=dict(self._journal.started[index]),
            metrics=visible(result),
            state=state,
            seconds=round(time.monotonic() - self._began[trial_id], 3),
            error=reason,
        )
        self._journal.finish(trial)
        try:
            self._on_trial(trial)
        except NitrogenError as failure:  # a dead tracking server does not end a sweep
            logger.warning("%s The sweep goes on.", failure)

    def save(self, checkpoint_path: str) -> None:
        """Tune wants a file; the journal is what a sweep goes on from, and nothing is pickled."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a sweep resumes from its journal")

    @property
    def _study(self) -> optuna.Study:
        assert self._ot_study is not None  # made by the constructor, since the space is given there
        return self._ot_study

    def _recall(self) -> None:
        """Tell the study what finished in earlier attempts."""
        for trial in sorted(self._journal.finished.values(), key=lambda trial: trial.index):
            values = objectives(trial.metrics, self._objectives)
            self._study.add_trial(
                optuna.trial.create_trial(
                    state=TrialState[trial.state],
                    values=values if trial.state == "COMPLETE" else None,
                    params=trial.config,
                    distributions=self._ranges,
                )
            )

    def _next_index(self) -> int:
        return max([-1, *self._journal.started, *self._journal.finished]) + 1


def verdict(
    result: Mapping[str, Any] | None, values: Sequence[float] | None, error: bool
) -> tuple[State, str | None]:
    """State of a trial whose last result is `result`, and the reason when it failed."""
    result = result or {}
    if result.get(ERROR_KEY):
        return "FAIL", str(result[ERROR_KEY])
    if error:
        return "FAIL", "the process of the trial died"
    if not result.get(DONE_KEY):
        return "PRUNED", None
    if values is None:
        return "FAIL", "an objective is missing or not finite"
    return "COMPLETE", None


def visible(result: Mapping[str, Any] | None) -> dict[str, Any]:
    """The metrics that the objective reported, without what Tune and this module added."""
    return {
        key: value
        for key, value in (result or {}).items()
        if key not in TUNE_KEYS and not key.startswith("_") and not key.startswith("config/")
    }


class DominancePruner(FIFOScheduler):
    """Stops a trial that others dominated in all objectives at the same report.

    Args:
        metrics, sign: objectives and their signs (1 to minimise).
        grace_reports: the first reports that never stop a trial.
        min_dominating: how many other trials must have been better at this report.
    """

    def __init__(
        self,
        metrics: Sequence[str],
        sign: Sequence[int],
        grace_reports: int = 1,
        min_dominating: int = 2,
    ) -> None:
        super().__init__()
        self._metrics = list(metrics)
        self._sign = list(sign)
        self._grace = grace_reports
        self._min_dominating = min_dominating
        self._seen: dict[int, dict[str, list[float]]] = {}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if result.get(DONE_KEY) or result.get(ERROR_KEY):
            return TrialScheduler.CONTINUE
        stop = self.decide(trial.trial_id, int(result["training_iteration"]), result)
        return TrialScheduler.STOP if stop else TrialScheduler.CONTINUE

    def decide(self, trial_id: str, report: int, result: Mapping[str, Any]) -> bool:
        """Whether to stop a trial that reports `result` as its report number `report`."""
        values = objectives(result, self._metrics)
        if values is None:
            return False
        others = self._seen.setdefault(report, {})
        better = sum(dominates(other, values, self._sign) for other in others.values())
        others[trial_id] = values
        return report > self._grace and better >= self._min_dominating
