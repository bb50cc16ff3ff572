"""Times of the operators: every provider in one run, paired, none that fails its reference."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nitrogen.kernels.plan import NUM_WIDTHS
from nitrogen.kernels.reference import TOLERANCES, relative_rms
from nitrogen.kernels.registry import OPERATORS, Operator, Provider
from nitrogen.kernels.row_mlp import dense_mlp
from nitrogen.pipelines.metrics.timing import Timing, time_callables
from nitrogen.pipelines.report.provenance import commit, machine

CHANNELS, ROWS = (64, 128, 192, 256), (256, 2048, 16384, 65536)
SHARES = ((1.0, 4), (0.5, 4), (0.25, 4), (0.1, 4), (1.0, 3), (1.0, 2), (1.0, 1), (0.5, 2))
# channels, b, side
MAPS: tuple[tuple[int, int, int], ...] = ((64, 1, 16), (64, 8, 16), (192, 8, 8), (64, 1, 128))
CHECKED_ROWS = 64  # of each large case, against float64
SLACK, SLACK_S = 0.06, 20e-6  # time allowed beyond rows * width of dense: a share, and seconds
Call = Callable[[], Any]
MLP = OPERATORS["row_mlp"]


@dataclass(frozen=True)
class Shape:
    """Rows and channels of a `row_mlp`, E = 4 C."""

    channels: int
    num_rows: int


def run(device: str, repeats: int, quick: bool = False) -> Iterator[dict[str, Any]]:
    """One record a (op, provider, shape, case), as they are measured.

    On a GPU against the card's own copy and product, in bf16 and float32: `kernels.gpu.bench`.
    """
    if device == "cuda":
        yield from on_gpu(repeats, quick)
        return
    shapes = [Shape(c, m) for c in CHANNELS for m in ROWS]
    maps: Sequence[tuple[int, int, int]] = MAPS
    if quick:
        shapes, maps = shapes[:1], MAPS[:1]
    about = provenance()
    with torch.no_grad():
        for shape in shapes:
            for record in mlp_records(shape, device, repeats):
                yield record | about
        for channels, b, side in maps:
            for record in map_records(channels, b, side, device, repeats):
                yield record | about


def on_gpu(repeats: int, quick: bool) -> Iterator[dict[str, Any]]:
    from nitrogen.kernels.gpu.bench import measure
    from nitrogen.kernels.roofline import SHAPES

    shapes = SHAPES[:1] if quick else SHAPES
    for dtype in (torch.bfloat16, torch.float32):
        with torch.no_grad():
            for line in measure(device="cuda", dtype=dtype, shapes=shapes, repeats=repeats):
                yield provenance() | line


def provenance() -> dict[str, Any]:
    return {
        "hardware": machine(),
        "threads": torch.get_num_threads(),
        # Above the number of cores the times measure the neighbours.
        "load_1m": round(os.getloadavg()[0], 1),
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def providers(operator: Operator, device: str) -> list[Provider]:
    return [p for p in operator.providers if p.device == device and p.available()]


def mlp_records(shape: Shape, device: str, repeats: int) -> Iterator[dict[str, Any]]:
    """`gemms` are the two products alone, `torch` the dense MLP; then ours at shares and widths."""
    draw = Drawn(device)
    c, m = shape.channels, shape.num_rows
    x, residual = draw(m, c), torch.zeros(m, c, device=device)
    weights = draw(4 * c, c, spread=c**-0.5), draw(4 * c), draw(c, 4 * c) / (2 * c**0.5), draw(c)
    hidden, out = torch.empty(m, 4 * c, device=device), torch.empty(m, c, device=device)

    def gemms() -> None:
        torch.mm(x, weights[0].t(), out=hidden)
        torch.mm(hidden, weights[2].t(), out=out)

    calls: dict[str, Call] = {
        "gemms": gemms,
        "torch": lambda: dense_mlp(x, *weights, 4 * c),
    }
    wrong: dict[str, float] = {}
    for provider in providers(MLP, device):
        kernel = provider.kernel()
        for share, width in SHARES if provider.name != "eager" else SHARES[:2]:
            args = (x, *weights, *draw.row_set(m, share, width), c, residual)
            name = f"{provider.name} rows {share:g} width {width / NUM_WIDTHS:g}"
            error = mlp_error(kernel, args)
            if not error <= TOLERANCES[torch.float32]:  # NaN is wrong too
                wrong[name] = error
            else:
                calls[name] = bind(kernel, args)
    timings = time_callables(calls, repeats=repeats, synchronize=waiter(device))
    flops = 4.0 * m * c * 4 * c
    for name, timing in timings.items():
        whole = timings.get(f"{name.split()[0]} rows 1 width 1")
        yield record("row_mlp", name, [m, c, 4 * c], timing) | mlp_figures(
            name, timing, whole, timings["gemms"], flops
        )
    for name, error in wrong.items():
        yield failed("row_mlp", name, [m, c, 4 * c], error)


def mlp_figures(
    name: str, timing: Timing, whole: Timing | None, gemms: Timing, flops: float
) -> dict[str, Any]:
    """Rate of what was computed; of ours also the share of the same provider's dense time with the
    bound that it must keep, and the dense rate over that of the GEMMs."""
    words = name.split()
    if len(words) == 1 or whole is None:
        return {"gflops_per_s": rate(flops, timing)}
    share, width = float(words[2]), float(words[4])
    figures: dict[str, Any] = {"gflops_per_s": rate(flops * share * width, timing)}
    if timing is whole:
        return figures | {"rate_over_gemms": ratio(gemms, timing)}
    bound = share * width + SLACK + SLACK_S * 1e3 / whole.p50
    value = ratio(timing, whole)
    return figures | {"of_dense": value, "bound": round(bound, 4), "kept": value <= bound}


def mlp_error(kernel: Callable[..., Any], args: tuple[Any, ...]) -> float:
    """Relative RMS of the first active rows of each width, against float64."""
    x, rows, counts, residual = args[0], args[5], args[6], args[8]
    residual.fill_(float("nan"))
    kernel(*args)
    few = rows[: int(counts[1:].sum())][:CHECKED_ROWS]
    small = counts.clone()
    small[1:] = torch.where(counts[1:] > 0, len(few), 0)
    small[0] = 0
    local = torch.arange(len(few), device=x.device)
    cut = (x[few], *args[1:5], local, small, args[7], residual[few])
    expected = MLP.reference(*(v.cpu() if isinstance(v, Tensor) else v for v in cut))
    return relative_rms(residual[few].cpu(), expected)


def map_records(
    channels: int, b: int, side: int, device: str, repeats: int
) -> Iterator[dict[str, Any]]:
    """The other operators on a map of b x side x side, every row and half of them."""
    for name, operator in OPERATORS.items():
        if name in ("row_mlp", "plan_rows", "region_stats", "ode_exit"):
            continue
        calls: dict[str, Call] = {}
        wrong: dict[str, float] = {}
        for share in (1.0, 0.5):
            args = map_arguments(name, channels, b, side, share, device)
            expected = operator.reference(*(v.cpu() if isinstance(v, Tensor) else v for v in args))
            for provider in providers(operator, device):
                kernel, label = provider.kernel(), f"{provider.name} rows {share:g}"
                got = kernel(*args)
                got = args[-1] if operator.writes else got
                error = relative_rms(got.cpu(), expected)
                if not error <= TOLERANCES[torch.float32]:  # NaN is wrong too
                    wrong[label] = error
                else:
                    calls[label] = bind(kernel, args)
        timings = time_callables(calls, repeats=repeats, synchronize=waiter(device))
        shape = [b, side, side, channels]
        for label, timing in timings.items():
            whole = timings.get(f"{label.split()[0]} rows 1")
            yield record(name, label, shape, timing) | (
                {"of_dense": ratio(timing, whole)} if whole and timing is not whole else {}
            )
        for label, error in wrong.items():
            yield failed(name, label, shape, error)


def map_arguments(
    name: str, c: int, b: int, side: int, share: float, device: str
) -> tuple[Any, ...]:
    """Arguments of one operator at this shape; buffers hold zeros."""
    draw, m = Drawn(device), b * side * side
    rows = draw.row_set(m, share, NUM_WIDTHS)
    x, shift, scale = draw(m, c), draw(b, c), draw(b, c)
    zeros = lambda e: torch.zeros(m, e, device=device)  # noqa: E731
    return {
        "norm_modulate": lambda: (x, shift, scale, *rows, side * side),
        "depthwise": lambda: (x.view(b, side, side, c), draw(c, 1, 3, 3), shift, scale, *rows),
        "gated_add": lambda: (x, shift, draw(m, c), side * side),
        "row_linear": lambda: (x, draw(c, c, spread=c**-0.5), draw(c), *rows, zeros(c)),
        "row_qkv": lambda: (
            x, shift, scale, draw(3 * c, c, spread=c**-0.5), *rows, side * side, zeros(3 * c),
        ),
        "row_attention": lambda: (draw(b, side, side, 3 * c), *rows, c // 32),
    }[name]()  # fmt: skip


class Drawn:
    """Random tensors and row sets, the same in every run."""

    def __init__(self, device: str):
        self.device, self.generator = device, torch.Generator().manual_seed(0)

    def __call__(self, *shape: int, spread: float = 1.0) -> Tensor:
        return (torch.randn(*shape, generator=self.generator) * spread).to(self.device)

    def row_set(self, m: int, share: float, width: int) -> tuple[Tensor, Tensor]:
        """round(share * m) random rows at `width` quarters, the others held."""
        num = round(m * share)
        order = torch.randperm(m, generator=self.generator)
        rows = torch.cat([order[:num].sort().values, order[num:].sort().values])
        counts = torch.zeros(NUM_WIDTHS + 1, dtype=torch.int64)
        counts[0], counts[width] = m - num, num
        return rows.to(self.device), counts.to(self.device)


def bind(kernel: Callable[..., Any], args: tuple[Any, ...]) -> Call:
    return lambda: kernel(*args)


def waiter(device: str) -> Callable[[], object] | None:
    return torch.cuda.synchronize if device == "cuda" else None


def rate(flops: float, timing: Timing) -> float:
    """GFLOP/s at the median."""
    return round(flops / timing.p50 / 1e6, 1)


def ratio(one: Timing, other: Timing) -> float:
    """Median of the ratios of paired calls."""
    return round(float(np.median(one.ms / other.ms)), 4)


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
