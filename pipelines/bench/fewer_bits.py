"""The network in bf16 and in int8 as torch has them, beside the others of `bench step`.

bf16 is what `generate --precision bf16` runs: rows in plain PyTorch under autocast, for the C++ of
this package is in float32. int8 is torch's own dynamic form on the dense path. Each has its error
to the float32 network beside its time.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from nitrogen.kernels.depthwise import depthwise3x3
from nitrogen.kernels.norm import rms_norm
from nitrogen.kernels.reference import relative_rms
from nitrogen.model.blocks import MLPBlock, Modulation
from nitrogen.model.cache import empty_cache
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.regions import full_plan, region_grid
from nitrogen.pipelines.bench.precisions import dynamic_int8
from nitrogen.pipelines.precision import autocast, has_int8

Call = Callable[[], Any]


def fewer_bits(denoiser: Denoiser, batch: int, size: int) -> dict[str, tuple[Call, float]]:
    """way -> (call, relative RMS of D to the dense network in float32); int8 on a processor alone,
    and where torch has it."""
    arch, device = denoiser.arch, next(denoiser.parameters()).device
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, size, size, arch.image_channels, generator=generator).to(device)
    sigma, labels = torch.ones(batch, device=device), torch.zeros(batch, device=device).long()
    inputs, ahead = (x, sigma, labels), {"sigma_next": sigma / 2}
    plan = full_plan(batch, region_grid(arch, size, size), arch.num_levels, device=device)
    cache = empty_cache(arch, batch, size, size, device)

    def bf16() -> Tensor:
        with autocast(device.type, "bf16"):
            return denoiser(*inputs, **ahead, plan=plan, cache=cache)[0]

    calls: dict[str, Callable[[], Tensor]] = {"bf16 rows": bf16}
    if device.type == "cpu" and has_int8():
        quantised = int8_network(denoiser)
        calls["int8 network"] = lambda: quantised(*inputs, **ahead)[0]
    exact = denoiser(*inputs, **ahead)[0].double()
    return {way: (call, relative_rms(call(), exact)) for way, call in calls.items()}


def int8_network(denoiser: Denoiser) -> Denoiser:
    """A copy, for its dense path, whose MLPs multiply in int8; every other layer as it is."""
    quantised = deepcopy(denoiser)
    blocks = [Int8Block(block) for block in denoiser.unet.blocks if isinstance(block, MLPBlock)]
    quantised.unet.blocks = nn.ModuleList(blocks)
    return quantised


class Int8Block(nn.Module):
    """An MLPBlock with dynamic int8 products, at full width."""

    def __init__(self, block: MLPBlock):
        super().__init__()
        self.depthwise = block.depthwise
        self.mlp = dynamic_int8((block.w_in, block.b_in, block.w_out, block.b_out))

    def forward(self, x: Tensor, modulation: Modulation, num_hidden: int) -> Tensor:
        """x: [b, h, w, c] -> [b, h, w, c]."""
        mixed = modulation.dense(depthwise3x3(rms_norm(x), self.depthwise))
        return modulation.add(x, self.mlp(mixed))
