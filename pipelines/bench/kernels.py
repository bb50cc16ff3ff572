"""Times of the operators: every provider in one run, paired, none that fails its reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nitrogen.kernels.plan import NUM_WIDTHS
from nitrogen.kernels.reference import TOLERANCES, relative_rms
from nitrogen.kernels.registry import OPERATORS, Operator, Provider
from nitrogen.kernels.row_mlp import dense_mlp
from nitrogen.pipelines.bench.kernel_inputs import (
    OVER_MAPS,
    PICTURES,
    Drawn,
    map_arguments,
    picture_arguments,
)
from nitrogen.pipelines.bench.precisions import lower_precision
from nitrogen.pipelines.bench.records import failed, provenance, rate, ratios, record, waiter
from nitrogen.pipelines.metrics.timing import Timing, time_callables

CHANNELS, ROWS = (64, 128, 192, 256), (256, 2048, 16384, 65536)
SHARES = ((1.0, 4), (0.5, 4), (0.25, 4), (0.1, 4), (1.0, 3), (1.0, 2), (1.0, 1), (0.5, 2))
# channels, b, side
MAPS: tuple[tuple[int, int, int], ...] = ((64, 1, 16), (64, 8, 16), (192, 8, 8), (64, 1, 128))
# b, px
PICTURE_SIZES: tuple[tuple[int, int], ...] = ((1, 32), (8, 32), (1, 256))
MOST_ROWS_IN_FEWER_BITS = 2048  # without units for bf16 a call of 65,536 rows takes seconds
CHECKED_ROWS = 64  # of each large case, against float64
SLACK, SLACK_S = 0.06, 20e-6  # time allowed beyond rows * width of dense: a share, and seconds
Call = Callable[[], Any]
MLP = OPERATORS["row_mlp"]


@dataclass(frozen=True)
class Shape:
    """Rows and channels of a `row_mlp`, E = 4 C."""

    channels: int
    num_rows: int


def run(
    device: str,
    repeats: int,
    quick: bool = False,
    tune: bool = False,
    channels: Sequence[int] = (),  # with num_rows: of `row_mlp` alone, nothing else is timed
    num_rows: Sequence[int] = (),
) -> Iterator[dict[str, Any]]:
    """One record a (op, provider, shape, case), as they are measured.

    On a GPU against the card's own copy and product, in bf16 and float32, with every candidate of
    the tuning table if asked: `kernels.gpu.bench`.
    """
    if device == "cuda":
        yield from on_gpu(repeats, quick, tune)
        return
    shapes = [Shape(c, m) for c in CHANNELS for m in ROWS]
    maps: Sequence[tuple[int, int, int]] = MAPS
    pictures: Sequence[tuple[int, int]] = PICTURE_SIZES
    if quick:
        shapes, maps, pictures = shapes[:1], MAPS[:1], PICTURE_SIZES[:1]
    if channels or num_rows:
        shapes = [Shape(c, m) for c in channels or CHANNELS for m in num_rows or ROWS]
        maps, pictures = (), ()
    about = provenance()
    with torch.no_grad():
        for shape in shapes:
            for record in mlp_records(shape, device, repeats):
                yield record | about
        for c, b, side in maps:
            for record in map_records(c, b, side, device, repeats):
                yield record | about
        for b, px in pictures:
            for record in picture_records(b, px, device, repeats):
                yield record | about


def on_gpu(repeats: int, quick: bool, tune: bool) -> Iterator[dict[str, Any]]:
    from nitrogen.kernels.gpu.bench import measure
    from nitrogen.kernels.roofline import SHAPES

    shapes = SHAPES[:1] if quick else SHAPES
    for dtype in (torch.bfloat16, torch.float32):
        with torch.no_grad():
            for line in measure(
                device="cuda", dtype=dtype, shapes=shapes, repeats=repeats, tune=tune
            ):
                yield provenance() | line


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
    fits = device == "cpu" and m <= MOST_ROWS_IN_FEWER_BITS
    lower = lower_precision(x, weights) if fits else {}
    calls |= {name: call for name, (call, _) in lower.items()}
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
        accuracy = {"relative_rms": lower[name][1]} if name in lower else {}
        yield (
            record("row_mlp", name, [m, c, 4 * c], timing)
            | accuracy
            | mlp_figures(name, timing, whole, timings["gemms"], flops)
        )
    for name, error in wrong.items():
        yield failed("row_mlp", name, [m, c, 4 * c], error)


def mlp_figures(
    name: str, timing: Timing, whole: Timing | None, gemms: Timing, flops: float
) -> dict[str, Any]:
    """Rate of what was computed; of ours also the share of the same provider's dense time with the
    bound that it must keep, and the dense rate over that of the GEMMs."""
    words = name.split()
    if words[0] == "torch":
        return {"gflops_per_s": rate(flops, timing), **ratios("rate_over_gemms", gemms, timing)}
    if len(words) == 1 or whole is None:
        return {"gflops_per_s": rate(flops, timing)}
    share, width = float(words[2]), float(words[4])
    figures: dict[str, Any] = {"gflops_per_s": rate(flops * share * width, timing)}
    if timing is whole:
        return figures | ratios("rate_over_gemms", gemms, timing)
    found = ratios("of_dense", timing, whole)
    if words[0] == "eager":  # the bound is asked of the kernels
        return figures | found
    bound = share * width + SLACK + SLACK_S * 1e3 / whole.p50
    return figures | found | {"bound": round(bound, 4), "within": found["of_dense"] <= bound}


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
    for name in OVER_MAPS:
        operator = OPERATORS[name]
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
                ratios("of_dense", timing, whole) if whole and timing is not whole else {}
            )
        for label, error in wrong.items():
            yield failed(name, label, shape, error)


def picture_records(b: int, px: int, device: str, repeats: int) -> Iterator[dict[str, Any]]:
    """The operators on whole pictures in regions of 8 px, which know no active rows."""
    for name in PICTURES:
        operator, args = OPERATORS[name], picture_arguments(name, b, px, device)
        expected = operator.reference(*(v.cpu() if isinstance(v, Tensor) else v for v in args))
        calls, wrong = {}, {}
        for provider in providers(operator, device):
            kernel = provider.kernel()
            error = distance(kernel(*args), expected)
            if not error <= TOLERANCES[torch.float32]:  # NaN is wrong too
                wrong[provider.name] = error
            else:
                calls[provider.name] = bind(kernel, args)
        timings = time_callables(calls, repeats=repeats, synchronize=waiter(device))
        for label, timing in timings.items():
            yield record(name, label, [b, px, px, 3], timing)
        for label, error in wrong.items():
            yield failed(name, label, [b, px, px, 3], error)


def distance(got: Any, expected: Any) -> float:
    """Relative RMS; of indices 0 where all are equal, else infinite."""
    if isinstance(got, Tensor):
        return relative_rms(got.cpu(), expected)
    equal = all(torch.equal(a.cpu(), b) for a, b in zip(got, expected, strict=True))
    return 0.0 if equal else float("inf")


def bind(kernel: Callable[..., Any], args: tuple[Any, ...]) -> Call:
    return lambda: kernel(*args)
