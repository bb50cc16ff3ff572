"""Which code runs an operator: `triton` on a GPU, `cpu` (C++) on a processor, else `eager`.

Every operator has a plain path; the others are found, and where one is missing `eager` runs.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from nitrogen.kernels.attention import row_attention
from nitrogen.kernels.cpu.library import cpu_available
from nitrogen.kernels.cpu.ops import CPU
from nitrogen.kernels.depthwise import depthwise
from nitrogen.kernels.gradients import needed, refuse_constants, wants_gradient
from nitrogen.kernels.linear import row_linear, row_qkv
from nitrogen.kernels.norm import gated_add, norm_modulate
from nitrogen.kernels.plan import plan_rows
from nitrogen.kernels.regions import ode_exit, region_stats
from nitrogen.kernels.row_mlp import row_mlp

Kernel = Callable[..., Any]

EAGER: dict[str, Kernel] = {
    "plan_rows": plan_rows,
    "norm_modulate": norm_modulate,
    "depthwise": depthwise,
    "row_mlp": row_mlp,
    "gated_add": gated_add,
    "row_linear": row_linear,
    "row_qkv": row_qkv,
    "row_attention": row_attention,
    "region_stats": region_stats,
    "ode_exit": ode_exit,
}
CPU_DTYPES = (torch.float32, torch.int64)


def provider(name: str, args: tuple[Any, ...]) -> Kernel:
    """The kernel for these arguments; what needs a gradient runs in plain PyTorch."""
    if torch.is_grad_enabled() and wants_gradient(args):
        refuse_constants(name, needed(args))
        return EAGER[name]
    if name in CPU and takes_cpp(args[0]):
        return CPU[name]
    on_gpu = args[0].device.type == "cuda" and has_triton(name)
    return triton_kernel(name) if on_gpu else EAGER[name]


def takes_cpp(x: Tensor) -> bool:
    """Whether the C++ kernels run on x: on a processor, in single precision, not under autocast."""
    single = x.dtype in CPU_DTYPES and not torch.is_autocast_enabled("cpu")
    return single and x.device.type == "cpu" and cpu_available()


@cache
def has_triton(name: str) -> bool:
    """Whether there is a kernels/gpu/<name>.py; triton is not imported to know it."""
    return find_spec(f"nitrogen.kernels.gpu.{name}") is not None


def triton_kernel(name: str) -> Kernel:
    """kernels/gpu/<name>.py; imported when first needed, since it imports triton."""
    kernel: Kernel = getattr(import_module(f"nitrogen.kernels.gpu.{name}"), name)
    return kernel
