"""Where a training plugs in, and the executor that runs it in this process.

A training is a plain function `train_fn(config, session)`, importable as "package.module:name".
It knows neither Ray nor the tracking server: it asks the session for its rank and its newest
checkpoint, and reports metrics and checkpoints to it. `run_local` runs it in this process,
`run_ray` (in training_ray) on the workers of Ray Train.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from nitrogen.platform.errors import ConfigError, TrainingError
from nitrogen.platform.training_checkpoints import (
    discard_incoming,
    newest_checkpoint,
    read_note,
    save_checkpoint,
)
from nitrogen.platform.training_journal import JOURNAL_NAME, Event, Journal, history

if TYPE_CHECKING:
    from nitrogen.platform.tracking import TrackedRun

OnReport = Callable[[Event], None]
"""Called in the process that started the training with each event of the journal."""


@runtime_checkable
class TrainSession(Protocol):
    """What a training function sees of the machinery around it."""

    rank: int
    world_size: int
    device: str

    def latest_checkpoint(self) -> Path | None:
        """Directory of the newest complete checkpoint of this run, or None at its beginning."""
        ...

    def report(self, metrics: dict[str, float], checkpoint: Path | None = None) -> None:
        """Called by all ranks at the same points; `checkpoint` is a directory, from rank 0."""
        ...

    def should_stop(self) -> bool:
        """True when the run should save a checkpoint and return; the same on all ranks."""
        ...


class TrainFn(Protocol):
    """A training: reads its newest checkpoint, trains, reports, returns at the end."""

    def __call__(self, config: dict[str, Any], session: TrainSession) -> None: ...


@dataclass(frozen=True)
class TrainResult:
    """What a training left: its last checkpoint, last metrics and the metrics of all reports."""

    checkpoint: Path
    metrics: dict[str, float]
    history: list[dict[str, Any]] = field(default_factory=list)
    stopped: bool = False
    """True when it returned because it was asked to stop; run it again to go on."""


class LocalSession:
    """One worker in this process; checkpoints and the journal lie under `run_dir`."""

    rank = 0
    world_size = 1

    def __init__(
        self,
        run_dir: Path,
        device: str = "cpu",
        on_report: OnReport | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> None:
        self.device = device
        self.stop_seen = False
        self._root = run_dir / "checkpoints"
        self._on_report = on_report
        self._should_stop = should_stop
        discard_incoming(self._root)
        self._journal = Journal(run_dir / JOURNAL_NAME)
        self._report = self._resume()

    def _resume(self) -> int:
        """Number of the newest checkpoint's report; later events will be made again."""
        newest = newest_checkpoint(self._root)
        note = read_note(newest) if newest else None
        last = note.report if note else 0
        self._journal.rewind(last)
        return last

    def latest_checkpoint(self) -> Path | None:
        return newest_checkpoint(self._root)

    def report(self, metrics: dict[str, float], checkpoint: Path | None = None) -> None:
        metrics = plain_metrics(metrics)
        self._report += 1
        # The journal first: a checkpoint that exists has its events, a lost one repeats them.
        event = self._journal.append(self._report, metrics, checkpoint is not None)
        if checkpoint is not None:
            save_checkpoint(self._root, Path(checkpoint), self._report, metrics)
        if self._on_report is not None:
            self._on_report(event)

    def should_stop(self) -> bool:
        if self._should_stop is not None and self._should_stop():
            self.stop_seen = True
        return self.stop_seen


def run_local(
    train_fn: TrainFn | str,
    config: dict[str, Any],
    run_dir: Path | str,
    on_report: OnReport | None = None,
    *,
    device: str = "cpu",
    num_threads: int | None = None,
    should_stop: Callable[[], bool] | None = None,
    tracking: TrackedRun | None = None,
) -> TrainResult:
    """Run a training in this process, from its newest checkpoint if `run_dir` has one.

    Args:
        train_fn: the function, or its import path "package.module:name".
        config: passed to it as it is.
        run_dir: folder of this run and no other; made when absent.
        on_report: called with each event of the journal.
        num_threads: of torch in this process; None leaves it.
        tracking: MLflow run that receives the metrics; a dead server never stops the training.

    Raises TrainingError when it reported no checkpoint at all.
    """
    run_dir = Path(run_dir)
    train_fn = load_train_fn(train_fn)
    session = LocalSession(run_dir, device, on_report, should_stop)
    with _threads(num_threads), _forwarding(run_dir, tracking):
        train_fn(config, session)
    checkpoint = session.latest_checkpoint()
    if checkpoint is None:
        raise TrainingError(
            f"the training in {run_dir} ended without a checkpoint. "
            "Report one at least at the end of the training function."
        )
    rows = history(run_dir / JOURNAL_NAME)
    note = read_note(checkpoint)
    last = rows[-1] if rows else (note.metrics if note else {})
    metrics = {key: value for key, value in last.items() if key not in ("report", "time")}
    return TrainResult(checkpoint, metrics, rows, session.stop_seen)


def run_ray(train_fn: TrainFn | str, config: dict[str, Any], **options: Any) -> TrainResult:
    """Run a training on the workers of Ray Train; see `training_ray.run_ray` for the options."""
    from nitrogen.platform.training_ray import run_ray as run_on_workers

    return run_on_workers(train_fn, config, **options)


def load_train_fn(train_fn: TrainFn | str) -> TrainFn:
    """The function behind an import path "package.module:name"; a function is returned as it is.

    Raises ConfigError, naming the part of the path that is wrong.
    """
    if not isinstance(train_fn, str):
        return train_fn
    module_name, _, name = train_fn.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"train_fn must be importable as 'package.module:name', got {train_fn!r} ({error}). "
            "Check the spelling and that the package is installed on the workers."
        ) from error
    return found


def plain_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Metrics as Python numbers: tensors and numpy scalars would not survive the journal."""
    return {
        str(key): value if isinstance(value, int) else float(value)
        for key, value in metrics.items()
    }


@contextlib.contextmanager
def _threads(num_threads: int | None) -> Iterator[None]:
    if num_threads is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _forwarding(run_dir: Path, tracking: TrackedRun | None) -> Iterator[None]:
    if tracking is None:
        yield
        return
    from nitrogen.platform.training_tracking import JournalForwarder

    with JournalForwarder(run_dir / JOURNAL_NAME, tracking):
        yield
