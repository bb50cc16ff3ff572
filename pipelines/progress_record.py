"""What a run leaves of its progress for other shells: the latest numbers, and a log."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from nitrogen.pipelines.atomic_json import write_json
from nitrogen.pipelines.progress import PlainProgress, RunProgress
from nitrogen.pipelines.progress_state import StepState

_FILE_EVERY_S = 2.0


class Clocked:
    """A text stream that puts the time before each line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S ") if text.strip() else ""
        return self._stream.write(stamp + text)

    def flush(self) -> None:
        self._stream.flush()


class RecordedProgress:
    """Passes everything on, keeps the latest numbers in a file (`nitrogen status`) and plain lines
    in a log (`nitrogen logs`)."""

    def __init__(self, inner: RunProgress, path: Path, log_path: Path) -> None:
        self._inner = inner
        self._path = path
        self._log_file = log_path.open("a", encoding="utf-8")
        self._log = PlainProgress(Clocked(self._log_file))
        self._state: StepState | None = None
        self._written = 0.0

    def begin_step(self, name: str, index: int, count: int) -> None:
        self._state = StepState(name, index, count, time.monotonic)
        self._inner.begin_step(name, index, count)
        self._log.begin_step(name, index, count)
        self._write(now=True)

    def update(
        self,
        *,
        step: int | None = None,
        total: int | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        self._inner.update(step=step, total=total, metrics=metrics)
        self._log.update(step=step, total=total, metrics=metrics)
        if self._state is not None:
            self._state.update(step, total, metrics)
            self._write()

    def message(self, text: str) -> None:
        self._inner.message(text)
        self._log.message(text)

    def end_step(self, name: str, state: str, seconds: float) -> None:
        self._inner.end_step(name, state, seconds)
        self._log.end_step(name, state, seconds)
        self._state = None

    def close(self) -> None:
        self._inner.close()
        self._log_file.close()
        self._path.unlink(missing_ok=True)

    def _write(self, *, now: bool = False) -> None:
        state = self._state
        if state is None or not (now or time.monotonic() - self._written >= _FILE_EVERY_S):
            return
        self._written = time.monotonic()
        record = {
            "step": state.name,
            "index": state.index,
            "count": state.count,
            "training_step": state.step,
            "training_steps": state.total,
            "metrics": state.metrics,
            "seconds": time.monotonic() - state.started,
            "seconds_left": state.seconds_left(),
        }
        # A full disk must not end a training because of a display.
        with contextlib.suppress(OSError, TypeError):
            write_json(self._path, record, durable=False)
