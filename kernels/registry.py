"""Every operator with its reference, providers and cases: what tests and benchmarks read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import triton

from nitrogen.kernels.cases import CASES, Case
from nitrogen.kernels.cpu.library import cpu_available
from nitrogen.kernels.cpu.ops import CPU
from nitrogen.kernels.operators import DECLARED
from nitrogen.kernels.providers import EAGER, Kernel, has_triton, triton_kernel
from nitrogen.kernels.reference import REFERENCES

HALVES = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Provider:
    """device: where its tensors are; dtypes: of x, which it takes; kernel: loads it."""

    name: str
    device: str
    dtypes: tuple[torch.dtype, ...]
    kernel: Callable[[], Kernel]
    available: Callable[[], bool]


@dataclass(frozen=True)
class Operator:
    """reference: the same call in float64; writes: whether its last argument is a buffer that it
    writes at active rows; over_rows: whether it is told which those are; make_cases: (dtype,
    device) -> labelled arguments."""

    name: str
    reference: Kernel
    providers: tuple[Provider, ...]
    writes: bool
    over_rows: bool
    make_cases: Callable[[torch.dtype, str], Iterator[Case]]


def providers_of(name: str) -> tuple[Provider, ...]:
    """Those that there are: `eager` always, a C++ and a Triton kernel where one is found."""
    every = (torch.float32, *HALVES)
    on_cpu = bool(triton.knobs.runtime.interpret)  # kernels then run on CPU tensors
    runs = lambda: on_cpu or torch.cuda.is_available()  # noqa: E731
    found = [Provider("eager", "cpu", every, lambda: EAGER[name], lambda: True)]
    if name in CPU:
        found.append(Provider("cpu", "cpu", (torch.float32,), lambda: CPU[name], cpu_available))
    if has_triton(name):
        device = "cpu" if on_cpu else "cuda"
        found.append(Provider("triton", device, every, lambda: triton_kernel(name), runs))
    return tuple(found)


def operators() -> dict[str, Operator]:
    """By name, as they are declared."""
    return {
        name: Operator(
            name,
            REFERENCES[name],
            providers_of(name),
            bool(declared.writes),
            declared.over_rows,
            CASES[name],
        )
        for name, declared in DECLARED.items()
    }


OPERATORS = operators()
