"""The sweep of a recipe without Ray: the same trials, one after the other in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nitrogen.platform.sweep_journal import SweepJournal, Trial
from nitrogen.platform.sweep_space import distributions


@dataclass(frozen=True)
class LocalReport:
    """A trial's report that never prunes: with one trial at a time there is nobody to compare."""

    folder: str

    def __call__(self, metrics: Mapping[str, float]) -> None:
        return None


def run_local_sweep(
    objective: Callable[[dict[str, Any], LocalReport], Mapping[str, float]],
    space: Mapping[str, Any],
    *,
    folder: Path,
    num_trials: int,
    seed: int,
    on_trial: Callable[[Trial], None],
) -> list[Trial]:
    """All trials; those finished before a cut-off are told to the search and not repeated."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ranges, journal = distributions(space), SweepJournal(str(folder))
    study = optuna.create_study(
        directions=["minimize", "minimize"], sampler=optuna.samplers.TPESampler(seed=seed)
    )
    for index in range(num_trials):
        asked = study.ask(ranges)
        done = journal.finished.get(index)
        if done is None:
            config = journal.interrupted().get(index, dict(asked.params))
            if index not in journal.started:
                journal.start(index, config)
            metrics = objective(config, LocalReport(journal.trial_folder(index, config)))
            done = Trial(index, config, dict(metrics))
            journal.finish(done)
            on_trial(done)
        study.tell(asked, [done.metrics["distance"], done.metrics["gflops"]])
    return [journal.finished[i] for i in sorted(journal.finished)]
