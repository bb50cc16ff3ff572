"""Sends the metrics of a training's journal to MLflow from a thread, losing none.

The journal is the spool: a cursor file beside it says up to which report everything was sent. A
dead server leaves the cursor where it is; a resumed training goes on behind it, so steps only grow.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from nitrogen.platform.errors import TrackingError
from nitrogen.platform.tracking import TrackedRun, Tracker
from nitrogen.platform.tracking_client import TransientTrackingError, metric_key
from nitrogen.platform.tracking_entries import MetricRow
from nitrogen.platform.training_journal import Event, JournalReader

INTERVAL_S = 2.0
RETRY_S = 20.0

logger = logging.getLogger(__name__)


def metric_rows(event: Event) -> list[MetricRow]:
    """One event as rows for MLflow; its step is the metric `step`, else the report's number."""
    step = int(event["metrics"].get("step", event["report"]))
    timestamp_ms = int(event["time"] * 1000)
    return [
        (metric_key(key), float(value), timestamp_ms, step)
        for key, value in event["metrics"].items()
        if key != "step"
    ]


class JournalForwarder:
    """A thread that forwards new events every two seconds; leaving the context sends the rest."""

    def __init__(self, journal: Path, run: TrackedRun, tracker: Tracker | None = None) -> None:
        self._journal = journal
        self._reader = JournalReader(journal)
        self._waiting: dict[int, Event] = {}
        self._run = run
        self._tracker = tracker or Tracker(run.uri)
        self._cursor = journal.with_suffix(".sent")
        self._closed = threading.Event()
        self._quiet_until = 0.0
        self._thread = threading.Thread(target=self._loop, name="mlflow-forwarder", daemon=True)

    def start(self) -> JournalForwarder:
        self._thread.start()
        return self

    def close(self, timeout_s: float = 30.0) -> None:
        """Stop the thread and try once more to send what is left."""
        self._closed.set()
        self._thread.join(timeout=timeout_s)
        if not self._thread.is_alive():
            self._quiet_until = 0.0
            self.forward()

    def __enter__(self) -> JournalForwarder:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def forward(self) -> int:
        """Send the events behind the cursor; returns how many were sent. Never raises."""
        if time.monotonic() < self._quiet_until:
            return 0
        try:
            with self._locked():
                return self._send()
        except TransientTrackingError as error:
            logger.warning("%s The metrics stay in %s and are sent later.", error, self._journal)
        except (TrackingError, OSError) as error:
            logger.warning("%s", error)
        self._quiet_until = time.monotonic() + RETRY_S
        return 0

    def _send(self) -> int:
        sent = self._sent()
        self._waiting.update((event["report"], event) for event in self._reader.new_events())
        events = [event for report, event in sorted(self._waiting.items()) if report > sent]
        self._waiting = {event["report"]: event for event in events}
        if not events:
            return 0
        rows = [row for event in events for row in metric_rows(event)]
        self._tracker.send_metrics(self._run.run_id, rows)
        temporary = self._cursor.with_name(f".{self._cursor.name}")
        temporary.write_text(str(events[-1]["report"]))
        temporary.replace(self._cursor)
        self._waiting.clear()
        return len(events)

    def _sent(self) -> int:
        try:
            return int(self._cursor.read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def _loop(self) -> None:
        while not self._closed.wait(INTERVAL_S):
            self.forward()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Ray's controller and the driver may both forward at the end."""
        self._journal.parent.mkdir(parents=True, exist_ok=True)
        with open(self._cursor.with_name(f".{self._cursor.name}.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
