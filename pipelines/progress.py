"""What a run shows while it works: a live line on a terminal, plain lines elsewhere.

Everything goes to stderr, so that stdout holds only the result.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TextIO

from nitrogen.pipelines.atomic_json import write_json
from nitrogen.pipelines.context import Progress

_PLAIN_EVERY_S = 10.0
_FILE_EVERY_S = 2.0
_SHOWN_FIRST = ("loss", "images_per_s")


class RunProgress(Progress, Protocol):
    """A Progress that also follows the steps of a run."""

    def begin_step(self, name: str, index: int, count: int) -> None: ...

    def end_step(self, name: str, state: str, seconds: float) -> None: ...

    def close(self) -> None: ...


class _StepState:
    """Numbers of the running step, and the time left from its pace since it (re)started."""

    def __init__(self, name: str, index: int, count: int, clock: Callable[[], float]) -> None:
        self.name, self.index, self.count = name, index, count
        self.clock = clock
        self.started = clock()
        self.step: int | None = None
        self.total: int | None = None
        self.metrics: dict[str, float] = {}
        self._pace_from: tuple[float, int] | None = None
        self._told_left: float | None = None

    def update(
        self, step: int | None, total: int | None, metrics: Mapping[str, float] | None
    ) -> None:
        if total is not None:
            self.total = total
        if step is not None:
            # A resumed training starts at its checkpoint: its first report sets the origin.
            if self._pace_from is None or (self.step is not None and step < self.step):
                self._pace_from = (self.clock(), step)
            self.step = step
        self.metrics.update(metrics or {})
        self._told_left = self.metrics.pop("seconds_left", None)

    def seconds_left(self) -> float | None:
        """What the step said itself (metric seconds_left), else from the pace."""
        if self._told_left is not None:
            return self._told_left
        if self._pace_from is None or self.step is None or not self.total:
            return None
        since, first = self._pace_from
        done, elapsed = self.step - first, self.clock() - since
        if done <= 0 or elapsed <= 0:
            return None
        return max(0.0, (self.total - self.step) * elapsed / done)

    def describe(self) -> str:
        parts = [f"[{self.index}/{self.count}] {self.name}"]
        if self.step is not None:
            parts.append(f"step {self.step}" + (f"/{self.total}" if self.total else ""))
        parts.extend(f"{name} {_number(value)}" for name, value in shown_metrics(self.metrics))
        left = self.seconds_left()
        if left is not None:
            parts.append(f"{duration(left)} left")
        return "  ".join(parts)


def shown_metrics(metrics: Mapping[str, float], limit: int = 4) -> list[tuple[str, float]]:
    """Loss and images/s first, then what else was reported, at most `limit`."""
    first = [name for name in _SHOWN_FIRST if name in metrics]
    rest = [name for name in metrics if name not in first]
    labels = {"images_per_s": "images/s"}
    return [(labels.get(name, name), metrics[name]) for name in (first + rest)[:limit]]


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def duration(seconds: float) -> str:
    """65 -> "1m05s"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


class PlainProgress:
    """Lines for logs: one at the start and end of a step, and one about every 10 seconds."""

    def __init__(
        self,
        stream: TextIO | _Clocked | None = None,
        *,
        every_s: float = _PLAIN_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream or sys.stderr
        self._every_s = every_s
        self._clock = clock
        self._state: _StepState | None = None
        self._last_line = 0.0

    def begin_step(self, name: str, index: int, count: int) -> None:
        self._state = _StepState(name, index, count, self._clock)
        self._line(f"[{index}/{count}] {name} started")
        self._last_line = self._clock()

    def update(
        self,
        *,
        step: int | None = None,
        total: int | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        if self._state is None:
            return
        self._state.update(step, total, metrics)
        if self._clock() - self._last_line >= self._every_s:
            self._last_line = self._clock()
            self._line(self._state.describe())

    def message(self, text: str) -> None:
        self._line(text)

    def end_step(self, name: str, state: str, seconds: float) -> None:
        took = f" in {duration(seconds)}" if state == "done" else ""
        self._line(f"{name} {state}{took}")
        self._state = None

    def close(self) -> None:
        self._stream.flush()

    def _line(self, text: str) -> None:
        self._stream.write(f"{text}\n")
        self._stream.flush()


class LiveProgress:
    """One live line at the bottom of a terminal; finished steps scroll up above it."""

    def __init__(self, console: Any | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars

        self._console = console or Console(stderr=True)
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[detail]}"),
            console=self._console,
            transient=True,
            refresh_per_second=4,
        )
        self._state: _StepState | None = None
        self._bar: Any = None
        self._bars.start()

    def begin_step(self, name: str, index: int, count: int) -> None:
        self._clear()
        self._state = _StepState(name, index, count, time.monotonic)
        title = rf"\[{index}/{count}] {name}"
        self._bar = self._bars.add_task(title, total=None, detail="")

    def update(
        self,
        *,
        step: int | None = None,
        total: int | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        if self._state is None:
            return
        self._state.update(step, total, metrics)
        detail = self._state.describe().partition("  ")[2]
        self._bars.update(
            self._bar, completed=self._state.step or 0, total=self._state.total, detail=detail
        )

    def message(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    def end_step(self, name: str, state: str, seconds: float) -> None:
        took = f" in {duration(seconds)}" if state == "done" else ""
        marks = {"done": "green", "cached": "cyan", "failed": "red"}
        self._clear()
        self._console.print(f"{name} {state}{took}", style=marks.get(state), highlight=False)

    def close(self) -> None:
        self._clear()
        self._bars.stop()

    def _clear(self) -> None:
        if self._bar is not None:
            self._bars.remove_task(self._bar)
        self._bar = self._state = None


class _Clocked:
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
        self._log = PlainProgress(_Clocked(self._log_file))
        self._state: _StepState | None = None
        self._written = 0.0

    def begin_step(self, name: str, index: int, count: int) -> None:
        self._state = _StepState(name, index, count, time.monotonic)
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


def make_progress(stream: TextIO | None = None) -> RunProgress:
    """Live on a terminal, without colours where NO_COLOR is set; plain lines elsewhere and where
    TERM=dumb."""
    stream = stream or sys.stderr
    plain = not stream.isatty() or os.environ.get("TERM") == "dumb"
    if plain:
        return PlainProgress(stream)
    from rich.console import Console

    return LiveProgress(Console(file=stream, no_color=bool(os.environ.get("NO_COLOR"))))
