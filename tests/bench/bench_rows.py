"""Does cost follow rows and width? The pointwise MLP over fewer rows and narrower, against dense.

Everything is timed side by side in one run; `ratio` is to the dense call of the same shape. A speed
is reported only after the row path has been compared with the reference in float64.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import torch

from nitrogen.kernels.reference import mlp_reference
from nitrogen.kernels.row_mlp import dense_mlp, row_mlp
from nitrogen.pipelines.metrics.timing import Timing, paired_speedup, time_callables
from nitrogen.pipelines.report.provenance import commit, machine

SHAPES = ((64, 1024), (64, 4096), (192, 256))  # channels, rows: of `small` at 32 and 64 px
EXPANSION = 4
SHARES = (1.0, 0.5, 0.25, 0.1)  # of the rows
WIDTHS = (1.0, 0.75, 0.5, 0.25)  # of the hidden layer
TOLERANCE = 1e-4


def cases(channels: int, num_rows: int) -> dict[str, Callable[[], torch.Tensor]]:
    """Calls by name; `dense` is what the ratios are taken to."""
    torch.manual_seed(0)
    num_hidden = EXPANSION * channels
    rows = torch.randn(num_rows, channels)
    w_in, b_in = torch.randn(num_hidden, channels) / channels**0.5, torch.zeros(num_hidden)
    w_out, b_out = torch.randn(channels, num_hidden) / num_hidden**0.5, torch.zeros(channels)
    weights = (w_in, b_in, w_out, b_out)
    check(rows, weights, num_hidden)

    def call(function: Callable[..., torch.Tensor], share: float, width: float) -> Callable:
        chosen = rows[: round(num_rows * share)].contiguous()
        return lambda: function(chosen, *weights, round(num_hidden * width))

    calls = {"dense": call(dense_mlp, 1.0, 1.0)}
    calls |= {f"rows {share:g}": call(row_mlp, share, 1.0) for share in SHARES}
    calls |= {f"width {width:g}": call(row_mlp, 1.0, width) for width in WIDTHS[1:]}
    return calls


def check(rows: torch.Tensor, weights: tuple[torch.Tensor, ...], num_hidden: int) -> None:
    """Ends the benchmark if the row path is wrong: a wrong kernel has no speed."""
    expected = mlp_reference(rows, *weights, num_hidden)
    error = (row_mlp(rows, *weights, num_hidden) - expected).abs().max().item()
    if not error <= TOLERANCE:
        sys.exit(f"row_mlp must be within {TOLERANCE} of its reference, got {error:.1e}.")


def record(timing: Timing, dense: Timing, shape: list[int], about: dict[str, str]) -> dict:
    speedup = paired_speedup(timing, dense)
    p20, p50, p80 = np.percentile(timing.ms, [20, 50, 80]).round(4).tolist()
    return {
        "op": "pointwise_mlp",
        "provider": "torch-cpu" if timing is dense else "row-blocks",
        "case": timing.name,
        "shape": shape,
        "metric": "time",
        "unit": "ms",
        "p20": p20,
        "p50": p50,
        "p80": p80,
        "speedup": round(speedup.value, 3),
        "speedup_low": round(speedup.low, 3),
        "speedup_high": round(speedup.high, 3),
        "n": len(timing.ms),
        **about,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=40)
    options = parser.parse_args()
    about = {
        "hardware": machine(),
        "threads": str(torch.get_num_threads()),
        # Above the number of cores the times measure the neighbours: run it on a quiet machine.
        "load_1m": f"{os.getloadavg()[0]:.1f}",
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with torch.inference_mode():
        for channels, num_rows in SHAPES:
            timings = time_callables(cases(channels, num_rows), repeats=options.repeats)
            for timing in timings.values():
                shape = [num_rows, channels, EXPANSION * channels]
                print(json.dumps(record(timing, timings["dense"], shape, about)), flush=True)


if __name__ == "__main__":
    main()
