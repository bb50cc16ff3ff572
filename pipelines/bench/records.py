"""The lines of `bench kernels` and `bench step`: what was measured, on what, and its spread."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from nitrogen.pipelines.metrics.bootstrap import bootstrap
from nitrogen.pipelines.metrics.timing import Timing
from nitrogen.pipelines.report.provenance import commit, machine


def provenance() -> dict[str, Any]:
    return {
        "hardware": machine(),
        "threads": torch.get_num_threads(),
        # Above the number of cores the times measure the neighbours.
        "load_1m": round(os.getloadavg()[0], 1),
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def waiter(device: str) -> Callable[[], object] | None:
    return torch.cuda.synchronize if device == "cuda" else None


def rate(flops: float, timing: Timing) -> float:
    """GFLOP/s at the median."""
    return round(flops / timing.p50 / 1e6, 1)


def ratios(name: str, one: Timing, other: Timing) -> dict[str, Any]:
    """Median of the ratios of paired calls, and its 95 % bootstrap interval."""
    found = bootstrap(one.ms / other.ms, lambda values: np.median(values, axis=-1))
    interval = [round(found.low, 4), round(found.high, 4)]
    return {name: round(found.value, 4), f"{name}_interval": interval}


def record(op: str, name: str, shape: list[int], timing: Timing) -> dict[str, Any]:
    provider, _, case = name.partition(" ")
    p20, p50, p80 = np.percentile(timing.ms, [20, 50, 80]).round(4).tolist()
    return {
        "op": op, "provider": provider, "case": case, "shape": shape, "metric": "time",
        "unit": "ms", "p20": p20, "p50": p50, "p80": p80, "n": len(timing.ms),
    }  # fmt: skip


def failed(op: str, name: str, shape: list[int], error: float) -> dict[str, Any]:
    """A kernel that is wrong has no speed."""
    provider, _, case = name.partition(" ")
    return {
        "op": op, "provider": provider, "case": case, "shape": shape, "metric": "relative_rms",
        "unit": "1", "p50": error, "failed": True,
    }  # fmt: skip
