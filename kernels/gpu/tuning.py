"""Block sizes by operator, precision and GPU family, and the candidates that a tuner may try.

A table, not an autotuner at run time: a block size decides the order of additions, so a row's bits
would depend on what a tuner happened to find in this process. Rules, until a card of the family was
measured (`hopper.py`): `gpu.bench.measure(tune=True)` times the candidates on the card it finds.
"""

import torch
import triton

from nitrogen.kernels.gpu import hopper
from nitrogen.kernels.gpu.launch import INTERPRETER, Config, family, override

GEMMS = ("row_mlp", "row_mlp_wide", "row_linear", "row_attention")
OPERATORS = (
    *GEMMS, "pool_keys", "norm_modulate", "depthwise", "gated_add", "region_stats", "ode_exit",
    "plan_rows",
)  # fmt: skip


def power_of_two(number: int) -> int:
    return triton.next_power_of_2(number)


def choose(op: str, dtype: torch.dtype, channels: int) -> Config:
    """The configuration of `op`: the scope's if it asks for one, else the table's."""
    return override(op, channels) or default(op, family(), dtype, channels)


def default(op: str, target: str, dtype: torch.dtype, channels: int) -> Config:
    return candidates(op, target, dtype, channels)[0]


def candidates(op: str, target: str, dtype: torch.dtype, channels: int) -> list[Config]:
    """The default first, then what is worth trying. channels: C, or those of one head."""
    padded = power_of_two(channels)
    rules = by_rule(op, target, dtype, padded)
    fastest = hopper.fastest(op, dtype, padded) if target == hopper.FAMILY else None
    return rules if fastest is None else [fastest, *(one for one in rules if one != fastest)]


def by_rule(op: str, target: str, dtype: torch.dtype, padded: int) -> list[Config]:
    """The same without a measurement. padded: channels to a power of two."""
    if op in ("norm_modulate", "gated_add", "depthwise"):
        return [
            Config({"BLOCK_M": max(1, values // padded), "BLOCK_C": padded}, num_warps=warps)
            for values, warps in ((4096, 4), (2048, 4), (8192, 8))
        ]
    if op == "pool_keys":
        # 2 values a thread (C = 192, 256) or 8 (512 to 2,048) spill nowhere; all others spill 8 to
        # 16 bytes on one NVIDIA family or another.
        first = {512: 2, 1024: 4}.get(padded, 8)
        order = sorted((8, 4, 2), key=lambda warps: warps != first)
        return [Config({}, num_warps=warps) for warps in order]
    if op == "region_stats":
        return [Config({"BLOCK_P": pixels}, num_warps=2) for pixels in (64, 128, 256)]
    if op in ("ode_exit", "plan_rows"):
        return [Config({"BLOCK": values}, num_warps=4) for values in (1024, 512, 2048)]
    if dtype == torch.float32 and target != INTERPRETER:  # it pays by the tile, not by its size
        return full_precision(op, target, padded)
    return half_precision(op, target, padded)


def max_fused_channels(target: str, dtype: torch.dtype) -> int:
    """Up to where row_mlp is one launch: its accumulator is a block of rows by all channels.

    RDNA3 spills beyond: 32 to 440 registers at C = 256 in every tiling tried, and 183 in float32
    at C = 128.
    """
    if target == hopper.FAMILY and dtype in hopper.MAX_FUSED_CHANNELS:
        return hopper.MAX_FUSED_CHANNELS[dtype]
    if target == "gfx1100":
        return 64 if dtype == torch.float32 else 128
    return 256


def full_precision(op: str, target: str, padded: int) -> list[Config]:
    """float32 without matrix units: small tiles, since both operands live in registers."""
    rdna = target == "gfx1100"
    if op == "row_mlp":
        warps = 8 if padded > 128 else 4
        return [
            Config({"BLOCK_M": m, "BLOCK_H": h, "BLOCK_C": max(padded, 16)}, num_warps=w)
            for m, h, w in ((16, 16, warps), (8, 16, 4), (32, 16, 8))
        ]
    if op == "row_attention":
        small = rdna or padded > 32
        # Heads of 128: 4 warps spill 24 bytes on sm_80 and 135 registers on RDNA3, 8 spill 16 bytes
        # on sm_89.
        warps = 8 if padded > 64 and target != "sm_89" else 4
        tiles = ((16, 16, warps), (16, 32, warps)) if small else ((32, 32, 4), (16, 32, 4))
        return [Config({"BLOCK_M": m, "BLOCK_T": t}, num_warps=w) for m, t, w in tiles]
    return [
        Config({"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k}, num_warps=4, num_stages=2)
        for m, n, k in ((32, 32, 16), (64, 32, 16), (32, 64, 16))
    ]


def half_precision(op: str, target: str, padded: int) -> list[Config]:
    """bf16 and fp16 on matrix units. 64 rows: wgmma and tcgen05 take no fewer."""
    rdna, amd = target == "gfx1100", target.startswith("gfx")
    if op == "row_mlp":
        # Slices of 64 hidden units spill at C = 128 and more with 4 warps (sm_80: 8 bytes).
        tiles = [(64, 64, 4, 2), (64, 32, 4, 2)] if padded <= 64 else [(64, 32, 8, 2)]
        # Two stages at C = 256 want 104 KiB of shared memory on NVIDIA, where sm_89 has 99, and 72
        # on CDNA, which has 64.
        stages = 1 if (target == "sm_89" or amd) and padded > 128 else 2
        tiles = [(64, 32, 8, 1), (32, 32, 8, 1)] if rdna else [*tiles, (64, 64, 8, stages)]
        return [
            Config({"BLOCK_M": m, "BLOCK_H": h, "BLOCK_C": max(padded, 16)}, w, s)
            for m, h, w, s in tiles
        ]
    if op == "row_attention":
        tiles = (
            [(64, 64, 4, 2), (64, 32, 4, 2)] if padded <= 64 else [(64, 64, 8, 2), (64, 32, 4, 2)]
        )
        tiles = [(32, 32, 4, 1), (64, 32, 8, 1)] if rdna else tiles
        return [Config({"BLOCK_M": m, "BLOCK_T": t}, w, s) for m, t, w, s in tiles]
    products: list[tuple[int, int, int, int, int]]
    if amd:
        products = [(64, 128, 32, 4, 2), (64, 64, 32, 4, 2), (128, 128, 32, 8, 2)]
    else:
        products = [(64, 128, 64, 4, 3), (64, 64, 64, 4, 3), (128, 128, 64, 8, 3)]
    return [Config({"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k}, w, s) for m, n, k, w, s in products]
