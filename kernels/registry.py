"""Every operator with its reference, providers and cases: what tests and benchmarks read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import triton

from nitrogen.kernels.cases import CASES, Case
from nitrogen.kernels.cpu.library import cpu_available
from nitrogen.kernels.cpu.ops import CPU
from nitrogen.kernels.operators import DECLARED
from nitrogen.kernels.providers import EAGER, Kernel, triton_kernel
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
    writes at active rows; make_cases: (dtype, device) -> labelled arguments."""

    name: str
    reference: Kernel
    providers: tuple[Provider, ...]
    writes: bool
    make_cases: Callable[[torch.dtype, str], Iterator[Case]]


def _providers(name: str) -> tuple[Provider, ...]:
    every = (torch.float32, *HALVES)
    on_cpu = bool(triton.knobs.runtime.interpret)  # kernels then run on CPU tensors
    runs = lambda: on_cpu or torch.cuda.is_available()  # noqa: E731
    return (
        Provider("eager", "cpu", every, lambda: EAGER[name], lambda: True),
        Provider("cpu", "cpu", (torch.float32,), lambda: CPU[name], cpu_available),
        Provider("triton", "cpu" if on_cpu else "cuda", every, lambda: triton_kernel(name), runs),
    )


OPERATORS: dict[str, Operator] = {
    name: Operator(name, reference, _providers(name), bool(DECLARED[name].writes), CASES[name])
    for name, reference in REFERENCES.items()
}
