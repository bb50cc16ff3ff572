"""The callback in Ray Train's controller: every report into the journal, and on to MLflow."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ray.train import Checkpoint, UserCallback

from nitrogen.platform.errors import TrainingError
from nitrogen.platform.tracking import TrackedRun
from nitrogen.platform.training_journal import Journal
from nitrogen.platform.training_session import EVENTS_KEY

if TYPE_CHECKING:
    import pyarrow.fs

    from nitrogen.platform.training_tracking import JournalForwarder

logger = logging.getLogger(__name__)


def own_run(run_dir: Path, patience_s: float = 60.0) -> IO[str]:
    """Take the run for this process until the returned file is closed or the process ends.

    The controller of a killed driver lives on for some seconds and may still write.
    Raises TrainingError when another process keeps the run for longer than `patience_s`.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    lock = open(run_dir / ".owner.lock", "w")  # noqa: SIM115
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            if time.monotonic() > deadline:
                lock.close()
                raise TrainingError(
                    f"the training in {run_dir} must run once at a time, but another process has "
                    "it. Wait for it, or stop it, then run again."
                ) from None
            time.sleep(0.2)


class TrainMlflowCallback(UserCallback):
    """Writes rank 0's metrics to a journal, from where a thread sends them to MLflow.

    Works in any Ray Train V2 run: a report that no session made counts up from the last.

    Args:
        journal: local file on the node of the driver, where the controller runs too.
        run: MLflow run that receives the metrics; None for the journal alone.
        remote: (file system, root, name) of the run's storage; with each checkpoint the journal
            is copied there if the storage is not local.
    """

    def __init__(
        self,
        journal: Path,
        run: TrackedRun | None = None,
        remote: tuple[pyarrow.fs.FileSystem, str, str] | None = None,
    ) -> None:
        self._path = journal
        self._run = run
        self._remote = remote
        self._journal: Journal | None = None
        self._forwarder: JournalForwarder | None = None
        self._last = 0
        self._owned: IO[str] | None = None

    def after_report(
        self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None
    ) -> None:
        if self._journal is None:
            self._open()
        assert self._journal is not None
        numbers = dict(metrics[0])
        alone = {"report": self._last + 1, "metrics": numbers, "checkpoint": checkpoint is not None}
        for event in numbers.pop(EVENTS_KEY, [alone]):
            self._last = event["report"]
            self._journal.append(
                self._last, event["metrics"], event["checkpoint"], event.get("time")
            )
        if checkpoint is not None and self._remote is not None:
            self._upload(*self._remote)

    def _open(self) -> None:
        self._owned = own_run(self._path.parent)
        self._journal = Journal(self._path)
        self._last = self._journal.last_report
        if self._run is not None:
            from nitrogen.platform.training_tracking import JournalForwarder

            self._forwarder = JournalForwarder(self._path, self._run).start()

    def _upload(self, store: pyarrow.fs.FileSystem, root: str, name: str) -> None:
        import pyarrow.fs

        if isinstance(store, pyarrow.fs.LocalFileSystem):
            return
        with (
            contextlib.suppress(OSError),  # the next checkpoint copies it again
            store.open_output_stream(f"{root}/{name}/{self._path.name}") as stream,
        ):
            stream.write(self._path.read_bytes())
