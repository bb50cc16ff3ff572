"""A sweep: Ray Tune runs the trials, Optuna chooses them by two objectives, a journal remembers."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from nitrogen.platform import storage
from nitrogen.platform.cluster_auth import environment
from nitrogen.platform.errors import ClusterError, ConfigError, TrainingError
from nitrogen.platform.sweep_journal import SweepJournal, Trial
from nitrogen.platform.sweep_space import distributions, objectives, pareto_indices, signs

TUNE_ENVIRONMENT = {
    # A trial may report a part of the metrics on its way; missing ones are judged at its end.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # Tune's handler ends the sweep on Ctrl-C as if it were complete.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


class Report(Protocol):
    """Given to an objective: call it with intermediate metrics; the trial may end in the call.

    `index` is the trial's number. `folder` is its own, the same after a resume: a checkpoint that
    lies there may be gone on from.
    """

    index: int
    folder: str

    def __call__(self, metrics: Mapping[str, float]) -> None: ...


Objective = Callable[[dict[str, Any], Report], Mapping[str, Any]]


@dataclass(frozen=True)
class SweepResult:
    """All trials in the order of their index, and the positions of those nobody dominates."""

    trials: list[Trial]
    pareto: list[int]

    @property
    def front(self) -> list[Trial]:
        return [self.trials[i] for i in self.pareto]


def run_sweep(
    objective: Objective,
    space: Mapping[str, Any],
    *,
    name: str,
    storage_path: str | os.PathLike[str],
    num_trials: int,
    directions: Sequence[str] = ("minimize", "minimize"),
    metrics: Sequence[str] = ("distance", "gflops"),
    max_concurrent: int = 1,
    seed: int = 0,
    search: str = "optuna",
    resources_per_trial: Mapping[str, float] | None = None,
    prune: bool = True,
    grace_reports: int = 1,
    min_dominating: int = 2,
    on_trial: Callable[[Trial], None] | None = None,
    check_resources: bool = True,
) -> SweepResult:
    """Run a sweep until `num_trials` trials have finished, counting those of earlier attempts.

    Ray must be connected. The same name and storage go on where a sweep was cut off: finished
    trials (whatever their state) are not repeated, interrupted ones run again with their config.

    Args:
        objective: objective(config, report) -> metrics; pickled to the trials' processes.
        space: see sweep_space.distributions.
        storage_path: local folder or s3://...; the sweep lies in `storage_path/name`.
        search: "optuna" (multi-objective TPE) or "random".
        resources_per_trial: by default one CPU.
        prune: stop a trial that `min_dominating` others dominated at the same report, after its
            first `grace_reports` reports.
        on_trial: called here with each trial that finishes.
        check_resources: refuse a trial that no node can hold now; False where a cluster can grow.

    Raises ConfigError for a bad argument, ClusterError for a trial that the cluster cannot hold,
    TrainingError when every trial failed.
    """
    sign = signs(directions)
    if len(sign) != len(metrics) or num_trials < 1 or max_concurrent < 1:
        raise ConfigError(
            "metrics and directions must be of one length, num_trials and max_concurrent at least "
            f"1, got {list(metrics)}, {list(directions)}, {num_trials}, {max_concurrent}. "
            "Correct the sweep section."
        )
    ranges = distributions(space)
    journal = SweepJournal(storage.join(os.fspath(storage_path), name))
    missing = num_trials - len(journal.finished)
    if missing > 0:
        from nitrogen.platform.optuna_search import DominancePruner, SweepSearch

        resources = dict(resources_per_trial or {"CPU": 1})
        _check_cluster(resources if check_resources else {})
        _run_trials(
            _trainable(objective),
            SweepSearch(ranges, metrics, directions, journal, seed, _sampler(search), on_trial),
            DominancePruner(metrics, sign, grace_reports, min_dominating) if prune else None,
            missing,
            min(max_concurrent, missing),
            resources,
        )
    return _result(journal, metrics, sign, num_trials)


def _run_trials(
    trainable: Callable[[dict[str, Any]], None],
    search: Any,
    scheduler: Any,
    num_samples: int,
    max_concurrent: int,
    resources: Mapping[str, float],
) -> None:
    import ray
    from ray import tune

    # Tune's own state is pickled: it lies in a folder that is thrown away and is never read.
    with (
        tempfile.TemporaryDirectory(prefix="ng-tune-") as scratch,
        environment(TUNE_ENVIRONMENT),
        _no_credentials_in_logs(),
    ):
        tuner = tune.Tuner(
            tune.with_resources(trainable, dict(resources)),
            tune_config=tune.TuneConfig(
                search_alg=search,
                scheduler=scheduler,
                num_samples=num_samples,
                max_concurrent_trials=max_concurrent,
            ),
            run_config=tune.RunConfig(name="sweep", storage_path=scratch, verbose=0),
        )
        try:
            tuner.fit()
        except ray.exceptions.RayError as error:
            raise ClusterError(
                f"the cluster lost the sweep ({str(error).splitlines()[0].rstrip('.')}). "
                "Check the cluster, then run again: finished trials are kept."
            ) from error


@contextlib.contextmanager
def _no_credentials_in_logs() -> Iterator[None]:
    """Tune would hand AWS credentials to each trial's runtime environment, which Ray's agents write
    to their logs; a trial gets them with its function (`_trainable`)."""
    from ray.tune.execution import class_cache

    named = class_cache.ENV_VARS_TO_PROPAGATE
    class_cache.ENV_VARS_TO_PROPAGATE = {name for name in named if not name.startswith("AWS_")}
    try:
        yield
    finally:
        class_cache.ENV_VARS_TO_PROPAGATE = named


def _trainable(objective: Objective) -> Callable[[dict[str, Any]], None]:
    """The function that Tune runs in each trial's process."""
    from nitrogen.platform.training_session import forwarded_environment

    variables = forwarded_environment()

    def trainable(config: dict[str, Any]) -> None:
        from nitrogen.platform import sweep_trial

        sweep_trial.run_trial(objective, config, variables)

    return trainable


def _sampler(search: str) -> Callable[[int], Any]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if search == "optuna":
        return lambda seed: optuna.samplers.TPESampler(seed=seed)
    if search == "random":
        return lambda seed: optuna.samplers.RandomSampler(seed=seed)
    raise ConfigError(f"search must be optuna or random, got {search!r}. Correct sweep.search.")


def _check_cluster(resources: Mapping[str, float]) -> None:
    import ray

    if not ray.is_initialized():
        raise ClusterError(
            "Ray must be connected before a sweep starts on it, got no connection. "
            "Use nitrogen.platform.cluster.start_embedded or connect."
        )
    for node in ray.nodes():
        if all(node["Resources"].get(kind, 0) >= n for kind, n in resources.items()):
            return
    raise ClusterError(
        f"a trial must fit a node of the cluster, got {dict(resources)} a trial. "
        "Lower it, or set executor.device: cpu if it asks for a GPU."
    )


def _result(
    journal: SweepJournal, metrics: Sequence[str], sign: Sequence[int], num_trials: int
) -> SweepResult:
    trials = [journal.finished[i] for i in sorted(journal.finished)]
    failed = [trial for trial in trials if trial.state == "FAIL"]
    if trials and len(failed) == len(trials):
        first = str(failed[0].error).rstrip(".")
        raise TrainingError(
            f"every trial of the sweep failed, the first because: {first}. "
            "Correct that, and give the sweep another name or folder."
        )
    if len(trials) < num_trials:
        raise TrainingError(
            f"the sweep ended with {len(trials)} of {num_trials} trials. Run again to go on."
        )
    points = [
        objectives(trial.metrics, metrics) if trial.state == "COMPLETE" else None
        for trial in trials
    ]
    return SweepResult(trials, pareto_indices(points, sign))
