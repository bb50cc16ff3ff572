"""The numbers of the running step, its pace and the time left, and how they read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_SHOWN_FIRST = ("loss", "images_per_s")


class StepState:
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
