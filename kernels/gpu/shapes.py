"""Calls of every operator on tensors without memory: what is compiled, and what is predicted.

Shapes are those of the presets: C = 64, 128 and 192 of `small`, 256 of `base`, 768 of `large`;
heads of 32 in `small`, of 64 in `base` and `large`, of 128 in `xl`. Products write float32 whatever
they multiply, as under autocast.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nitrogen.kernels.gpu.depthwise import depthwise
from nitrogen.kernels.gpu.gated_add import gated_add
from nitrogen.kernels.gpu.norm_modulate import norm_modulate
from nitrogen.kernels.gpu.ode_exit import ode_exit
from nitrogen.kernels.gpu.plan_rows import plan_rows
from nitrogen.kernels.gpu.region_stats import region_stats
from nitrogen.kernels.gpu.row_attention import row_attention
from nitrogen.kernels.gpu.row_linear import row_linear
from nitrogen.kernels.gpu.row_mlp import row_mlp
from nitrogen.kernels.gpu.row_qkv import row_qkv

B, SIDE, RATIO = 8, 32, 4  # samples, rows along a side of the map, E / C


@dataclass(frozen=True)
class Case:
    """One call. run: dtype -> calls the operator; dtypes: those it is compiled for by default (fp16
    has the configurations of bf16); also: (operator, channels) of what else it launches."""

    op: str
    channels: int  # of one head where it has heads; 0 where it has none
    run: Callable[[torch.dtype], object]
    dtypes: tuple[torch.dtype, ...] = (torch.bfloat16, torch.float32)
    also: tuple[tuple[str, int], ...] = ()

    @property
    def operators(self) -> tuple[tuple[str, int], ...]:
        """(operator, channels) whose configurations a call looks up."""
        return ((self.op, self.channels), *self.also)

    @property
    def name(self) -> str:
        return f"{self.op} C={self.channels}" if self.channels else self.op


def empty(*shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def maps(dtype: torch.dtype, channels: int, side: int = SIDE) -> Tensor:
    return empty(B * side * side, channels, dtype=dtype)


def plan(side: int = SIDE) -> tuple[Tensor, Tensor]:
    """rows, counts."""
    return empty(B * side * side), empty(5)


def mlp(c: int) -> Callable[[torch.dtype], object]:
    def run(dtype: torch.dtype) -> None:
        w = lambda *shape: empty(*shape, dtype=dtype)  # noqa: E731
        e = RATIO * c
        x, residual = maps(dtype, c), maps(torch.float32, c)
        row_mlp(x, w(e, c), w(e), w(c, e), w(c), *plan(), c * RATIO // 4, residual)

    return run


def linear(c: int, e: int) -> Callable[[torch.dtype], object]:
    def run(dtype: torch.dtype) -> None:
        weight, bias = empty(e, c, dtype=dtype), empty(e, dtype=dtype)
        row_linear(maps(dtype, c), weight, bias, *plan(), maps(torch.float32, e))

    return run


def qkv(c: int) -> Callable[[torch.dtype], object]:
    def run(dtype: torch.dtype) -> None:
        shift = empty(B, 3 * c, dtype=torch.float32)[:, :c]
        weight, out = empty(3 * c, c, dtype=dtype), maps(torch.float32, 3 * c)
        row_qkv(maps(torch.float32, c), shift, shift, weight, *plan(), SIDE * SIDE, out)

    return run


def attention(c: int, per_head: int) -> Callable[[torch.dtype], object]:
    def run(dtype: torch.dtype) -> None:
        row_attention(maps(dtype, 3 * c).view(B, SIDE, SIDE, 3 * c), *plan(), c // per_head)

    return run


def pointwise(op: Callable[..., object], c: int) -> Callable[[torch.dtype], object]:
    """norm_modulate, depthwise or gated_add."""

    def run(dtype: torch.dtype) -> None:
        shift, x = empty(B, 3 * c, dtype=dtype)[:, :c], maps(dtype, c)
        if op is norm_modulate:
            norm_modulate(x, shift, shift, *plan(), SIDE * SIDE)
        elif op is depthwise:
            weight = empty(c, 1, 3, 3, dtype=dtype)
            depthwise(x.view(B, SIDE, SIDE, c), weight, shift, shift, *plan())
        else:
            gated_add(x, shift, x, SIDE * SIDE)

    return run


def picture(op: Callable[..., object]) -> Callable[[torch.dtype], object]:
    """region_stats or ode_exit on 64 px in regions of 8 px."""

    def run(dtype: torch.dtype) -> None:
        x, sigma = empty(B, 64, 64, 3, dtype=dtype), empty(B, dtype=torch.float32)
        if op is region_stats:
            region_stats(x, x, 8, 8)
        else:
            ode_exit(x, x, x, sigma, sigma, sigma, empty(B, 8, 8, dtype=torch.bool))

    return run


FP32 = (torch.float32,)
ALL = (torch.bfloat16, torch.float16, torch.float32)
CASES = (
    Case("row_mlp", 64, mlp(64)),
    Case("row_mlp", 128, mlp(128)),
    Case("row_mlp", 256, mlp(256)),
    Case("row_mlp_wide", 768, mlp(768)),
    Case("row_linear", 256, linear(256, 256), ALL),
    Case("row_linear", 512, qkv(512), also=(("norm_modulate", 512),)),
    Case("row_attention", 32, attention(192, 32), also=(("pool_keys", 192),)),
    Case("row_attention", 64, attention(512, 64), also=(("pool_keys", 512),)),
    Case("row_attention", 128, attention(2048, 128), also=(("pool_keys", 2048),)),
    Case("norm_modulate", 256, pointwise(norm_modulate, 256)),
    Case("norm_modulate", 2048, pointwise(norm_modulate, 2048)),
    Case("depthwise", 64, pointwise(depthwise, 64)),
    Case("depthwise", 2048, pointwise(depthwise, 2048)),
    Case("gated_add", 256, pointwise(gated_add, 256)),
    Case("region_stats", 0, picture(region_stats), FP32),
    Case("ode_exit", 0, picture(ode_exit), FP32),
    Case("plan_rows", 0, lambda _: plan_rows(empty(B, 4, 4), empty(B), SIDE, SIDE), FP32),
)
