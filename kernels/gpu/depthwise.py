"""Depthwise convolution of active rows, with the norm before it and the modulation behind it.

out[row] = (sum over taps of weight[tap] rms_norm(x[neighbour])) (1 + scale) + shift, zero padding.
The taps are one loop over depth, height and width: a picture is a volume of depth 1, with a
kernel of depth 1, and a video only changes two bounds.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from nitrogen.kernels.gpu.launch import flat_rows, launch
from nitrogen.kernels.gpu.tuning import choose

EPS = 1e-6


def depthwise(
    x: Tensor,  # [b, h, w, c], or [b, d, h, w, c]
    weight: Tensor,  # [c, 1, 3, 3], or [c, 1, 3, 3, 3]
    shift: Tensor,  # [b, c]
    scale: Tensor,  # [b, c]
    rows: Tensor,  # [m] int64, m = b d h w
    counts: Tensor,  # [5] int64
) -> Tensor:
    """[m, c], defined at active rows. A neighbour's norm is taken again at each tap: its channels
    are in the cache by then, and nothing is written in between."""
    _, *space, c = x.shape
    depth, height, width = [1] * (3 - len(space)) + space
    flat, shift, scale = flat_rows(x), flat_rows(shift), flat_rows(scale)
    taps = weight.reshape(c, -1)
    taps = taps if taps.stride(1) == 1 else taps.contiguous()
    out = torch.empty(flat.shape, dtype=x.dtype, device=x.device)
    config = choose("depthwise", x.dtype, c)
    launch(
        depthwise_kernel, (triton.cdiv(flat.shape[0], config.blocks["BLOCK_M"]),), config, x=flat,
        weight=taps, shift=shift, scale=scale, rows=rows, counts=counts, out=out,
        stride_x=flat.stride(0), stride_w=taps.stride(0), stride_shift=shift.stride(0),
        stride_scale=scale.stride(0), stride_out=out.stride(0), channels=c, depth=depth,
        height=height, width=width, eps=EPS, TAPS_DEEP=taps.shape[1] // 9,
    )  # fmt: skip
    return out


@triton.jit
def depthwise_kernel(
    x, weight, shift, scale, rows, counts, out, stride_x, stride_w, stride_shift, stride_scale,
    stride_out, channels, depth, height, width, eps,
    TAPS_DEEP: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK_M active rows, all channels, all taps."""
    first = tl.program_id(0).to(tl.int64) * BLOCK_M
    active = tl.load(counts + 1) + tl.load(counts + 2) + tl.load(counts + 3) + tl.load(counts + 4)
    if first >= active:
        return
    position = first + tl.arange(0, BLOCK_M)
    valid = position < active
    row = tl.load(rows + position, mask=valid, other=0)
    px, py, pz = row % width, row // width % height, row // width // height % depth
    sample, c = row // width // height // depth, tl.arange(0, BLOCK_C)
    in_c = c < channels
    acc = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
    for tap in range(TAPS_DEEP * 9):
        dz, dy, dx = tap // 9 - TAPS_DEEP // 2, tap // 3 % 3 - 1, tap % 3 - 1
        inside = valid & (px + dx >= 0) & (px + dx < width) & (py + dy >= 0) & (py + dy < height)
        inside = inside & (pz + dz >= 0) & (pz + dz < depth)
        neighbour = row + (dz * height + dy) * width + dx
        place = x + neighbour[:, None] * stride_x + c[None, :]
        tile = tl.load(place, mask=inside[:, None] & in_c[None, :], other=0.0).to(tl.float32)
        inverse = tl.rsqrt(tl.sum(tile * tile, axis=1) / channels + eps)
        w = tl.load(weight + c.to(tl.int64) * stride_w + tap, mask=in_c, other=0.0)
        acc += tile * inverse[:, None] * w.to(tl.float32)[None, :]
    mask = valid[:, None] & in_c[None, :]
    up = tl.load(scale + sample[:, None] * stride_scale + c[None, :], mask=mask, other=0.0)
    by = tl.load(shift + sample[:, None] * stride_shift + c[None, :], mask=mask, other=0.0)
    acc = acc * (1 + up.to(tl.float32)) + by.to(tl.float32)
    tl.store(out + row[:, None] * stride_out + c[None, :], acc, mask=mask)
