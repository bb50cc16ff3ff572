"""What the predictor reads of each region: mean D per channel, mean D^2, mean change squared."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from nitrogen.kernels.gpu.launch import launch
from nitrogen.kernels.gpu.tuning import choose, power_of_two


def region_stats(
    denoised: Tensor,  # [b, h, w, ch]
    last: Tensor,  # [b, h, w, ch]
    rh: int,
    rw: int,
) -> Tensor:
    """[b, rh, rw, ch + 2] float32: means over the region, the last two over channels too."""
    denoised, last = denoised.contiguous(), last.contiguous()
    b, height, width, ch = denoised.shape
    out = torch.empty(b, rh, rw, ch + 2, dtype=torch.float32, device=denoised.device)
    config = choose("region_stats", denoised.dtype, ch)
    launch(
        region_stats_kernel, (b * rh * rw,), config, denoised=denoised, last=last, out=out,
        height=height, width=width, channels=ch, rh=rh, rw=rw, BLOCK_CH=power_of_two(ch),
    )  # fmt: skip
    return out


@triton.jit
def region_stats_kernel(
    denoised, last, out, height, width, channels, rh, rw,
    BLOCK_P: tl.constexpr, BLOCK_CH: tl.constexpr,
):  # fmt: skip
    """One program: one region, its pixels in steps of BLOCK_P."""
    region = tl.program_id(0).to(tl.int64)
    sample, high, wide = region // (rh * rw), height // rh, width // rw
    top, left = region // rw % rh * high, region % rw * wide
    p, ch = tl.arange(0, BLOCK_P), tl.arange(0, BLOCK_CH)
    sums = tl.zeros((BLOCK_P, BLOCK_CH), tl.float32)
    squares = tl.zeros((BLOCK_P, BLOCK_CH), tl.float32)
    changes = tl.zeros((BLOCK_P, BLOCK_CH), tl.float32)
    for start in range(0, high * wide, BLOCK_P):
        pixel = start + p
        place = (sample * height + top + pixel // wide) * width + left + pixel % wide
        mask = (pixel < high * wide)[:, None] & (ch < channels)[None, :]
        offset = place[:, None] * channels + ch[None, :]
        now = tl.load(denoised + offset, mask=mask, other=0.0).to(tl.float32)
        change = now - tl.load(last + offset, mask=mask, other=0.0).to(tl.float32)
        sums += now
        squares += now * now
        changes += change * change
    pixels = (high * wide).to(tl.float32)
    target = out + region * (channels + 2)
    tl.store(target + ch, tl.sum(sums, axis=0) / pixels, mask=ch < channels)
    tl.store(target + channels, tl.sum(squares) / (pixels * channels))
    tl.store(target + channels + 1, tl.sum(changes) / (pixels * channels))
