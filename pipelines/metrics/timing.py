"""Milliseconds of callables, measured side by side in one run.

Two measurements made after one another also measure the machine's mood. Here every repetition
calls each callable once, in an order that turns around each time, so that ratios are paired.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from nitrogen.pipelines.metrics.bootstrap import Interval, bootstrap, paired_bootstrap


@dataclass(frozen=True)
class Timing:
    """Measured milliseconds of one callable, in the order they were taken: ms float64 [n]."""

    name: str
    ms: np.ndarray

    @property
    def p50(self) -> float:
        return float(np.percentile(self.ms, 50))

    @property
    def p95(self) -> float:
        return float(np.percentile(self.ms, 95))

    def p50_interval(self) -> Interval:
        """Median with its 95 % bootstrap interval."""
        return bootstrap(self.ms, _median)

    def to_dict(self) -> dict[str, Any]:
        """{"name", "ms_p50", "ms_p95", "ms_p50_low", "ms_p50_high", "n"}, plain numbers."""
        interval = self.p50_interval()
        return {
            "name": self.name,
            "ms_p50": self.p50,
            "ms_p95": self.p95,
            "ms_p50_low": interval.low,
            "ms_p50_high": interval.high,
            "n": len(self.ms),
        }


def time_callables(
    callables: Mapping[str, Callable[[], object]],
    *,
    repeats: int = 20,
    warmup: int = 2,
    images_per_call: int = 1,
    synchronize: Callable[[], object] | None = None,
) -> dict[str, Timing]:
    """Wall-clock milliseconds per image of each callable, `repeats` times after `warmup` calls.

    images_per_call divides every time; synchronize is called before each clock reading (on a GPU:
    torch.cuda.synchronize). Garbage collection is off while the clock runs.
    """
    if repeats < 1 or warmup < 0 or not callables:
        raise ValueError(
            f"repeats must be at least 1 and warmup at least 0, got {repeats} and {warmup}."
        )
    order = list(callables)
    taken: dict[str, list[float]] = {name: [] for name in order}
    for repetition in range(-warmup, repeats):
        for name in order if repetition % 2 == 0 else reversed(order):
            ms = _elapsed_ms(callables[name], synchronize) / images_per_call
            if repetition >= 0:
                taken[name].append(ms)
    return {name: Timing(name, np.array(values)) for name, values in taken.items()}


def paired_speedup(candidate: Timing, baseline: Timing) -> Interval:
    """How many times faster the candidate is: p50(baseline) / p50(candidate), paired bootstrap."""
    return paired_bootstrap(baseline.ms, candidate.ms, _median, ratio=True)


def _median(values: np.ndarray) -> np.ndarray:
    return np.median(values, axis=-1)


def _elapsed_ms(call: Callable[[], object], synchronize: Callable[[], object] | None) -> float:
    with _no_garbage_collection():
        if synchronize:
            synchronize()
        start = time.perf_counter_ns()
        call()
        if synchronize:
            synchronize()
        return (time.perf_counter_ns() - start) / 1e6


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
