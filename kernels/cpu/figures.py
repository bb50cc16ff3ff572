"""Figures of the C++ that are no operator's: its build, its micro-kernel, a call, GELU's error.

`python -m nitrogen.kernels.cpu.figures` prints one JSON line a figure. What is compared is timed
turn by turn in one run, in processor time of one thread, so that a machine's mood meets both.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch

from nitrogen.kernels import operators  # noqa: F401 - registers what the dispatcher calls
from nitrogen.kernels.cpu.build import BuildError, compile_to, usable_compiler
from nitrogen.kernels.cpu.library import functions
from nitrogen.kernels.cpu.ops import gated_add, row_mlp
from nitrogen.kernels.cpu.packing import padded_bias, panels
from nitrogen.kernels.plan import NUM_WIDTHS, every_row
from nitrogen.kernels.reference import gelu_reference, relative_rms

CHANNELS, ROWS = 128, 2048
CALLS = 100  # of each way a turn: one takes microseconds


def figures(repeats: int) -> Iterator[dict[str, Any]]:
    """One dict a figure. Raises BuildError where nothing can be compiled."""
    compiler = usable_compiler()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernels.so"
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        compile_to(path, compiler)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        yield {"figure": "build", "unit": "s of processor time", "value": round(seconds, 2)}
        yield from micro_kernel(functions(path), repeats)
    yield from call_cost(repeats)
    yield {"figure": "gelu", "unit": "relative RMS to float64", "value": gelu_error()}


def micro_kernel(library: Any, repeats: int) -> Iterator[dict[str, Any]]:
    """GFLOP/s of one core: row_linear, the products alone, and row_mlp with its activation."""
    flops = {"row_linear": 2.0 * ROWS * CHANNELS * CHANNELS * 4}
    flops["row_mlp"] = 2 * flops["row_linear"]
    ways = {"row_linear": linear_call(library), "row_mlp": mlp_call(library)}
    for op, taken in turns(ways, repeats).items():
        yield {
            "figure": "micro-kernel", "op": op, "unit": "GFLOP/s, one thread",
            "value": round(flops[op] / taken / 1e9, 1),
        }  # fmt: skip


def linear_call(library: Any) -> Callable[[], object]:
    x, out = torch.randn(ROWS, CHANNELS), torch.empty(ROWS, 4 * CHANNELS)
    weight, plan = panels(torch.randn(4 * CHANNELS, CHANNELS)), every_row(ROWS, x.device)
    kept = (x, weight, plan.rows, plan.counts, out)  # alive as long as the call
    addresses = [tensor.data_ptr() for tensor in kept]

    def call() -> object:
        a, w, rows, counts, to = addresses
        nothing = (None, None, 0, 1, 0.0)
        return kept and library.row_linear(
            a, *nothing, w, None, rows, counts, CHANNELS, 4 * CHANNELS, to, 1
        )

    return call


def mlp_call(library: Any) -> Callable[[], object]:
    hidden = 4 * CHANNELS
    x, out = torch.randn(ROWS, CHANNELS), torch.empty(ROWS, CHANNELS)
    plan = every_row(ROWS, x.device)
    w_in, b_in = panels(torch.randn(hidden, CHANNELS) / 11), padded_bias(torch.zeros(hidden))
    w_out, b_out = panels(torch.randn(CHANNELS, hidden) / 23), padded_bias(torch.zeros(CHANNELS))
    kept = (x, w_in, b_in, w_out, b_out, plan.rows, plan.counts, out)
    addresses = [tensor.data_ptr() for tensor in kept]

    def call() -> object:
        sizes = (CHANNELS, hidden, hidden // NUM_WIDTHS)
        return kept and library.row_mlp(*addresses[:-1], *sizes, addresses[-1], 1)

    return call


def call_cost(repeats: int) -> Iterator[dict[str, Any]]:
    """Microseconds of an operator on one row: the function itself, and through the dispatcher."""
    args = (torch.randn(1, 8), torch.randn(1, 8), torch.randn(1, 8), 1)
    registered = torch.ops.nitrogen.gated_add

    def many(one: Callable[..., object]) -> Callable[[], None]:
        def call() -> None:
            for _ in range(CALLS):
                one(*args)

        return call

    ways = {"directly": many(gated_add), "through the dispatcher": many(registered)}
    with torch.no_grad():
        for way, taken in turns(ways, repeats).items():
            value = round(taken / CALLS * 1e6, 2)
            yield {"figure": f"gated_add {way}", "unit": "us a call", "value": value}


def gelu_error() -> float:
    """Relative RMS of row_mlp with identities for weights on [-8, 8]: of GELU alone."""
    c = 64
    x = torch.linspace(-8, 8, 4096 * c).view(-1, c)
    out, plan = torch.empty_like(x), every_row(x.shape[0], x.device)
    weights = (torch.eye(c), torch.zeros(c), torch.eye(c), torch.zeros(c))
    row_mlp(x, *weights, plan.rows, plan.counts, c // NUM_WIDTHS, out)
    return relative_rms(out, gelu_reference(x))


def turns(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median processor seconds of each way, all on one thread, in turn, the order reversed every
    time, after two calls."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(-2, repeats):
        for name in list(ways)[:: 1 if turn % 2 else -1]:
            start = time.thread_time()
            ways[name]()
            if turn >= 0:
                taken[name].append(time.thread_time() - start)
    return {name: median(values) for name, values in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="nitrogen.kernels.cpu.figures", description=__doc__)
    parser.add_argument("--repeats", type=int, default=50, help="turns of each way")
    options = parser.parse_args()
    try:
        for line in figures(max(1, options.repeats)):
            print(json.dumps(line | {"n": options.repeats}), flush=True)
    except BuildError as error:
        parser.error(f"the C++ must be there to be measured: {error}.")


if __name__ == "__main__":
    main()
