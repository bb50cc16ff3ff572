"""What runs inside a worker of Ray Train: the session, and the loop that calls the training."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nitrogen.platform.errors import TrainingError
from nitrogen.platform.training import load_train_fn, plain_metrics
from nitrogen.platform.training_checkpoints import read_note, write_note
from nitrogen.platform.training_journal import Event

EVENTS_KEY = "_events"
# Ray's controller takes one report at each poll, and a worker waits until its last one was taken:
# 40 reports took 80 s at the default poll of 2 s.
FLUSH_S = 1.0
FORWARDED = ("MLFLOW_", "AWS_", "NITROGEN_")


def forwarded_environment(source: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables that workers need and Ray does not pass on.

    They travel inside the pickled training function, not in `runtime_env`, which Ray shows in its
    dashboard and writes to its logs.
    """
    source = os.environ if source is None else source
    return {name: value for name, value in source.items() if name.startswith(FORWARDED)}


def worker_loop(
    train_fn: str, config: dict[str, Any], variables: dict[str, str], num_threads: int
) -> Callable[[], None]:
    """The function that Ray Train calls on each worker."""

    def loop() -> None:
        run_worker(train_fn, config, variables, num_threads)

    return loop


def run_worker(
    train_fn: str, config: dict[str, Any], variables: dict[str, str], num_threads: int
) -> None:
    """Prepare this process and run the training in it."""
    import torch

    os.environ.update(variables)
    torch.set_num_threads(num_threads)
    session = RaySession()
    load_train_fn(train_fn)(config, session)
    session.flush()
    if session.preempted:
        # A clean return would mark the run as finished; an error makes Ray resume it elsewhere.
        raise TrainingError("the node is being taken away. The run goes on from its checkpoint.")


class RaySession:
    """TrainSession of one rank.

    Reports are gathered and handed to Ray once a second and with each checkpoint; rank 0 decides
    when, for all. `should_stop` is renewed at the same time, for all ranks alike.
    """

    def __init__(self) -> None:
        import ray.train
        import ray.train.torch

        context = ray.train.get_context()
        self.rank: int = context.get_world_rank()
        self.world_size: int = context.get_world_size()
        self.device = str(ray.train.torch.get_device())
        self.preempted = False
        self._events: list[Event] = []
        self._handed: list[Event] = []  # given to Ray since the last checkpoint
        self._flushed = time.monotonic()
        self._told_to_stop = False
        self._latest = self._find_latest()
        note = read_note(self._latest) if self._latest else None
        self._report = note.report if note else 0

    def latest_checkpoint(self) -> Path | None:
        return self._latest

    def report(self, metrics: dict[str, float], checkpoint: Path | None = None) -> None:
        import ray.train

        self._report += 1
        plain = plain_metrics(metrics)
        with_checkpoint = checkpoint is not None
        event = {"report": self._report, "time": time.time(), "metrics": plain}
        self._events.append({**event, "checkpoint": with_checkpoint})
        due = with_checkpoint or time.monotonic() - self._flushed >= FLUSH_S
        if not self._rank_0_says(due):
            return
        handle = None
        if checkpoint is not None:
            write_note(Path(checkpoint), self._report, plain, [*self._handed, *self._events])
            handle = ray.train.Checkpoint.from_directory(str(checkpoint))
        self._hand_over(plain, handle)

    def flush(self) -> None:
        """Hand over what is gathered; called by all ranks when the training returned."""
        if self._rank_0_says(bool(self._events)):
            self._hand_over(self._events[-1]["metrics"] if self._events else {}, None)

    def _hand_over(self, metrics: dict[str, float], handle: Any) -> None:
        import ray.train

        ray.train.report({**metrics, EVENTS_KEY: self._events}, checkpoint=handle)
        self._handed = [] if handle is not None else [*self._handed, *self._events]
        self._events = []
        self._told_to_stop = ray.train.get_preemption_info() is not None
        self._flushed = time.monotonic()

    def _rank_0_says(self, flag: bool) -> bool:
        """Rank 0's flag, on all ranks: Ray's reports must be made by all together."""
        if self.world_size == 1:
            return flag
        import torch

        decision = torch.tensor([int(flag)], device=self.device)
        torch.distributed.broadcast(decision, src=0)
        return bool(decision.item())

    def should_stop(self) -> bool:
        if self._told_to_stop:
            self.preempted = True
        return self._told_to_stop

    def _find_latest(self) -> Path | None:
        import pyarrow.fs
        import ray.train

        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return None
        if isinstance(checkpoint.filesystem, pyarrow.fs.LocalFileSystem):
            return Path(checkpoint.path)
        return Path(checkpoint.to_directory(tempfile.mkdtemp(prefix="nitrogen-resume-")))
