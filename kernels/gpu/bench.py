"""Times every operator on the card it finds, against what that card can copy and multiply.

`measure` yields one dict a line; `nitrogen bench kernels --device cuda` prints them. The same code
runs on CUDA and on ROCm. The card's own ceilings come first: a copy and a large product. Then per
shape: `dense` (the plain dense operator over the whole map, `gpu/dense.py`), `compile` (the same
through torch.compile) and `triton` (ours, over the active rows at their width), turn by turn in one
run. `plan_rows` has no dense form: there it is `eager`, the same plan in plain PyTorch.
A kernel that misses its tolerance gets a line with its error and no time. Each call is captured as
a graph and its replays are timed: what the card takes, not what Python takes to start it (of small
calls 3 to 20 times as long). Only `plan_rows` in plain PyTorch asks the processor and is called.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from triton.compiler.errors import CompilationError
from triton.runtime.errors import OutOfResources, PTXASError

from nitrogen.kernels.counts import Shape, work
from nitrogen.kernels.gpu.calls import WRITES, arguments
from nitrogen.kernels.gpu.dense import DENSE
from nitrogen.kernels.gpu.launch import FAMILIES, family, interpreted, scope
from nitrogen.kernels.gpu.tuning import candidates
from nitrogen.kernels.providers import EAGER, triton_kernel
from nitrogen.kernels.reference import TOLERANCES, relative_rms
from nitrogen.kernels.roofline import SHAPES

COPY_BYTES, PRODUCT_SIDE = 2**28, 8192
CLEAR_BYTES = 2**28  # written between calls, so that no operand waits in the L2 cache (256 MiB)


def measure(
    device: str = "cuda",
    *,
    dtype: torch.dtype = torch.bfloat16,
    shapes: Iterable[Shape] = SHAPES,
    repeats: int = 50,
    compiled: bool = True,  # also time torch.compile
    backend: str = "inductor",  # of torch.compile
    tune: bool = False,  # also time every candidate of the tuning table
) -> Iterator[dict[str, Any]]:
    """One dict a measurement. Raises ValueError where there is no GPU to measure."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device must be a GPU that torch finds, got none. Use --device cpu.")
    if device == "cpu" and not interpreted():
        raise ValueError("device must be cuda for the GPU kernels, got cpu. Use another provider.")
    precision = str(dtype).removeprefix("torch.")
    about = {"kind": "measured", "hardware": hardware(device), "family": family()}
    about |= {"dtype": precision, "case": precision}
    copy_s, product_s = ceilings(device, dtype, repeats)
    ceiling = {**about, "provider": "torch", "metric": "rate", "shape": []}
    yield {**ceiling, "op": "copy", "unit": "bytes/s", "p50": copy_s}
    yield {**ceiling, "op": "matmul", "unit": "FLOPs/s", "p50": product_s}
    for shape in shapes:
        needed = work(shape, dtype.itemsize)
        floor_s = max(needed.bytes / copy_s, needed.flops / product_s if needed.matrix else 0.0)
        calls, error = providers(shape, dtype, device, backend if compiled else None)
        line: dict[str, Any] = {
            **about,
            "op": shape.op,
            "shape": [shape.b, shape.side, shape.side, shape.channels],
        }
        line |= {"rows": shape.active, "width": shape.width, "metric": "time", "unit": "ms"}
        line["case"] = f"{precision} rows {shape.active:g} width {shape.width:g}"
        line |= {"bytes": needed.bytes, "flops": needed.flops, "roofline_ms": floor_s * 1e3}
        if not error <= TOLERANCES[dtype]:  # NaN is wrong too
            wrong = {"provider": "triton", "metric": "relative_rms", "unit": "1", "p50": error}
            yield {**line, **wrong, "failed": True}
            continue
        if tune:
            calls |= candidate_calls(dtype, calls["triton"])
        if device == "cuda":
            calls = {n: call if n == "eager" else captured(call) for n, call in calls.items()}
        for name, taken in time_all(calls, device, repeats).items():
            p20, p50, p80 = quantiles(taken)
            yield {
                **line, "provider": name, "error": error if name == "triton" else None,
                "p20": p20, "p50": p50, "p80": p80, "n": len(taken),
                "of_roofline": floor_s * 1e3 / p50,
            }  # fmt: skip


def providers(
    shape: Shape, dtype: torch.dtype, device: str, backend: str | None
) -> tuple[dict[str, Callable[[], object]], float]:
    """The calls to time, and how far ours is from plain PyTorch in float64 on the same device.

    What the compiler made of other shapes is forgotten: from the second one on it would generalise,
    and behind the eighth run plain PyTorch without a word. backend: None is without a compiler.
    """
    name, plain = ("dense", DENSE[shape.op]) if shape.op in DENSE else ("eager", EAGER[shape.op])
    ours, args = triton_kernel(shape.op), arguments(shape, dtype, device)
    everything = arguments(replace(shape, active=1.0, width=1.0), dtype, device)
    calls: dict[str, Callable[[], object]] = {name: lambda: plain(*everything)}
    if backend is not None:
        torch.compiler.reset()
        through = torch.compile(plain, dynamic=False, fullgraph=True, backend=backend)
        calls["compile"] = lambda: through(*everything)
    calls["triton"] = lambda: ours(*args)
    return calls, distance(shape, args)


def distance(shape: Shape, args: tuple[Any, ...]) -> float:
    """Relative RMS of our result to float64, over active rows; 0 or infinity for indices."""
    results = []
    for kernel, wide in ((triton_kernel(shape.op), False), (EAGER[shape.op], True)):
        mine = [fresh(value, wide) for value in args]
        result = kernel(*mine)
        results.append(mine[-1] if shape.op in WRITES else result)
    got, expected = results
    if isinstance(got, tuple):
        equal = all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
        return 0.0 if equal else float("inf")
    at = next((i for i, v in enumerate(args) if is_counts(v)), None)
    if at is not None:  # other rows are undefined
        active = args[at - 1][: int(args[at][1:].sum())]
        got, expected = got[active], expected[active]
    return relative_rms(got, expected)


def fresh(value: Any, wide: bool) -> Any:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    return value.double() if wide else value.clone()


def is_counts(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.int64 and value.shape == (5,)


def candidate_calls(
    dtype: torch.dtype, ours: Callable[[], object]
) -> dict[str, Callable[[], object]]:
    """Our kernel under every other configuration of each operator that it asks the table for, by
    the operator's and the configuration's names."""

    def under(op: str, config: Any) -> Callable[[], object]:
        def call() -> None:
            with scope(configs={op: config}):
                ours()

        return call

    asked: dict[str, int] = {}
    with scope(asked=asked):
        ours()
    calls = {
        f"triton {op} {config.name}": under(op, config)
        for op, channels in asked.items()
        for config in candidates(op, family(), dtype, channels)[1:]
    }
    return {name: call for name, call in calls.items() if builds(call)}


def builds(call: Callable[[], object]) -> bool:
    """Whether a candidate compiles here and the card has the shared memory and registers for it:
    the installed Triton need not be the one that the table was made with."""
    try:
        call()
    except (CompilationError, OutOfResources, PTXASError):
        return False
    return True


def captured(call: Callable[[], object]) -> Callable[[], object]:
    """Replays of a call as one graph; they keep the call, for its arguments must live on."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        call()  # what is compiled or kept at a first call
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return lambda call=call: graph.replay()  # type: ignore[misc]


def ceilings(device: str, dtype: torch.dtype, repeats: int) -> tuple[float, float]:
    """(bytes/s of a large copy, reads and writes counted; FLOPs/s of a large square product)."""
    small = device == "cpu"
    num_bytes, side = (2**20, 64) if small else (COPY_BYTES, PRODUCT_SIDE)
    source = torch.ones(num_bytes, dtype=torch.uint8, device=device)
    target, a = torch.empty_like(source), torch.randn(side, side, device=device).to(dtype)
    calls = {"copy": lambda: target.copy_(source), "matmul": lambda: a @ a}
    taken = time_all(calls, device, repeats)
    copy_ms, product_ms = (quantiles(taken[name])[1] for name in calls)
    return 2 * num_bytes / copy_ms * 1e3, 2 * side**3 / product_ms * 1e3


def time_all(
    calls: Mapping[str, Callable[[], object]], device: str, repeats: int, warmup: int = 3
) -> dict[str, list[float]]:
    """Milliseconds of each call, in turn, the order reversed every time, caches cold."""
    clear = torch.empty(CLEAR_BYTES if device == "cuda" else 1, dtype=torch.uint8, device=device)
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for repetition in range(-warmup if device == "cuda" else 0, repeats):
        for name in list(calls)[:: 1 if repetition % 2 else -1]:
            clear.zero_()
            elapsed = elapsed_ms(calls[name], device)
            if repetition >= 0:
                taken[name].append(elapsed)
    return taken


def elapsed_ms(call: Callable[[], object], device: str) -> float:
    if device == "cpu":
        start = time.perf_counter()
        call()
        return (time.perf_counter() - start) * 1e3
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    before.record()
    call()
    after.record()
    after.synchronize()
    return before.elapsed_time(after)


def quantiles(taken: list[float]) -> tuple[float, float, float]:
    """p20, p50, p80."""
    values = torch.tensor(taken, dtype=torch.float64)
    p20, p50, p80 = torch.quantile(values, values.new_tensor([0.2, 0.5, 0.8])).tolist()
    return p20, p50, p80


def hardware(device: str) -> str:
    if device == "cpu":
        return f"Triton's interpreter, no GPU (families: {', '.join(FAMILIES)})"
    return torch.cuda.get_device_name()
