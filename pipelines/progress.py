"""What a run shows while it works: a live line on a terminal, plain lines elsewhere.

Everything goes to stderr, so that stdout holds only the result.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TextIO

from nitrogen.pipelines.context import Progress
from nitrogen.pipelines.progress_state import StepState, duration

_PLAIN_EVERY_S = 10.0


class RunProgress(Progress, Protocol):
    """A Progress that also follows the steps of a run."""

    def begin_step(self, name: str, index: int, count: int) -> None: ...

    def end_step(self, name: str, state: str, seconds: float) -> None: ...

    def close(self) -> None: ...


class Stream(Protocol):
    """What lines are written to."""

    def write(self, text: str, /) -> int: ...

    def flush(self) -> None: ...


class PlainProgress:
    """Lines for logs: one at the start and end of a step, and one about every 10 seconds."""

    def __init__(
        self,
        stream: Stream | None = None,
        *,
        every_s: float = _PLAIN_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream or sys.stderr
        self._every_s = every_s
        self._clock = clock
        self._state: StepState | None = None
        self._last_line = 0.0

    def begin_step(self, name: str, index: int, count: int) -> None:
        self._state = StepState(name, index, count, self._clock)
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
        self._state: StepState | None = None
        self._bar: Any = None
        self._bars.start()

    def begin_step(self, name: str, index: int, count: int) -> None:
        self._clear()
        self._state = StepState(name, index, count, time.monotonic)
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


def make_progress(stream: TextIO | None = None) -> RunProgress:
    """Live on a terminal, without colours where NO_COLOR is set; plain lines elsewhere and where
    TERM=dumb."""
    stream = stream or sys.stderr
    plain = not stream.isatty() or os.environ.get("TERM") == "dumb"
    if plain:
        return PlainProgress(stream)
    from rich.console import Console

    return LiveProgress(Console(file=stream, no_color=bool(os.environ.get("NO_COLOR"))))
