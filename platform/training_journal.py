"""The journal of a training: one JSON line a report, readable while the training runs.

Ray keeps only the metrics that came with a checkpoint; the journal keeps all of them. It is also
the spool of the tracking server: what was not sent yet is what lies behind the cursor.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

JOURNAL_NAME = "progress.jsonl"

Event = dict[str, Any]
"""{"report": int from 1, "time": seconds since the epoch, "metrics": {...}, "checkpoint": bool}"""


class Journal:
    """An append-only file of events; a report that is repeated after a resume replaces its past."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last_report = self._repair()

    def append(
        self,
        report: int,
        metrics: dict[str, float],
        checkpoint: bool,
        time_s: float | None = None,
    ) -> Event:
        """Write one event; events with the same or a later number are dropped first."""
        if report <= self.last_report:
            self.rewind(report - 1)
        event = {
            "report": report,
            "time": time.time() if time_s is None else time_s,
            "metrics": metrics,
            "checkpoint": checkpoint,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")
            file.flush()
            if checkpoint:
                os.fsync(file.fileno())
        self.last_report = report
        return event

    def rewind(self, last_report: int) -> None:
        """Drop all events after `last_report`."""
        events = list(read_events(self.path))
        kept = [event for event in events if event["report"] <= last_report]
        if len(kept) < len(events):
            write_events(self.path, kept)
        self.last_report = kept[-1]["report"] if kept else 0

    def _repair(self) -> int:
        """Number of the last event; cuts off the half line that a killed writer left."""
        if not self.path.exists():
            return 0
        events = list(read_events(self.path))
        if not self.path.read_bytes().endswith(b"\n"):
            write_events(self.path, events)
        return events[-1]["report"] if events else 0


def write_events(path: Path, events: Sequence[Event]) -> None:
    """Replace a journal by these events, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_events(path: Path) -> Iterator[Event]:
    """The complete lines of a journal; a missing file is an empty journal."""
    with contextlib.suppress(FileNotFoundError), path.open(encoding="utf-8") as file:
        for line in file:
            with contextlib.suppress(ValueError):
                if line.endswith("\n"):
                    yield json.loads(line)


def history(path: Path) -> list[dict[str, Any]]:
    """The metrics of all reports, oldest first, each with its `report` number and `time`."""
    return [
        {**event["metrics"], "report": event["report"], "time": event["time"]}
        for event in read_events(path)
    ]


class JournalReader:
    """Reads on from where it stopped, or from the start when the journal was rewound."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._inode = 0
        self._offset = 0

    def new_events(self) -> list[Event]:
        """Events since the last call; after a rewind all of them again."""
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self._offset:
                    self._inode, self._offset = status.st_ino, 0
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


class JournalTail:
    """Calls `on_event` in a thread for each new event, while another process writes the journal.

    Events that are in the file at the start are skipped. After a resume the numbers go back, and
    so do the calls. `close()` delivers what is still there and ends the thread.
    """

    def __init__(
        self, path: Path, on_event: Callable[[Event], None], interval_s: float = 0.3
    ) -> None:
        self._reader = JournalReader(path)
        self._on_event = on_event
        self._interval_s = interval_s
        self._closed = threading.Event()
        self._seen = {self._identity(event) for event in self._reader.new_events()}
        self._thread = threading.Thread(target=self._run, name="journal-tail", daemon=True)

    def __enter__(self) -> JournalTail:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._closed.set()
        self._thread.join(timeout=10)

    @staticmethod
    def _identity(event: Event) -> tuple[int, float]:
        return event["report"], event["time"]

    def _run(self) -> None:
        while not self._closed.wait(self._interval_s):
            self._deliver()
        self._deliver()

    def _deliver(self) -> None:
        for event in self._reader.new_events():
            identity = self._identity(event)
            if identity not in self._seen:
                self._seen.add(identity)
                self._on_event(event)
