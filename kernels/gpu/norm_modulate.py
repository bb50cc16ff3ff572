"""RMS norm and modulation of active rows: rms_norm(x[row]) (1 + scale) + shift."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from nitrogen.kernels.gpu.launch import flat_rows, launch
from nitrogen.kernels.gpu.tuning import choose


def norm_modulate(
    x: Tensor,  # [m, c]
    shift: Tensor,  # [b, c]
    scale: Tensor,  # [b, c]
    rows: Tensor,  # [m] int64
    counts: Tensor,  # [5] int64
    rows_per_sample: int,
    eps: float = 1e-6,
    *,
    dtype: torch.dtype | None = None,  # of the result, by default that of x
) -> Tensor:
    """[m, c], defined at active rows."""
    x, shift, scale = flat_rows(x), flat_rows(shift), flat_rows(scale)
    m, c = x.shape
    out = torch.empty(m, c, dtype=dtype or x.dtype, device=x.device)
    config = choose("norm_modulate", x.dtype, c)
    launch(
        norm_modulate_kernel, (triton.cdiv(m, config.blocks["BLOCK_M"]),), config, x=x, shift=shift,
        scale=scale, rows=rows, counts=counts, out=out, stride_x=x.stride(0),
        stride_shift=shift.stride(0), stride_scale=scale.stride(0), stride_out=out.stride(0),
        channels=c, rows_per_sample=rows_per_sample, eps=eps,
    )  # fmt: skip
    return out


@triton.jit
def norm_modulate_kernel(
    x, shift, scale, rows, counts, out, stride_x, stride_shift, stride_scale, stride_out, channels,
    rows_per_sample, eps, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK_M active rows, all channels."""
    first = tl.program_id(0).to(tl.int64) * BLOCK_M
    active = tl.load(counts + 1) + tl.load(counts + 2) + tl.load(counts + 3) + tl.load(counts + 4)
    if first >= active:
        return
    position = first + tl.arange(0, BLOCK_M)
    valid = position < active
    row = tl.load(rows + position, mask=valid, other=0)
    sample, c = row // rows_per_sample, tl.arange(0, BLOCK_C)
    mask = valid[:, None] & (c < channels)[None, :]
    tile = tl.load(x + row[:, None] * stride_x + c[None, :], mask=mask, other=0.0).to(tl.float32)
    up = tl.load(scale + sample[:, None] * stride_scale + c[None, :], mask=mask, other=0.0)
    by = tl.load(shift + sample[:, None] * stride_shift + c[None, :], mask=mask, other=0.0)
    inverse = tl.rsqrt(tl.sum(tile * tile, axis=1) / channels + eps)
    result = tile * inverse[:, None] * (1 + up.to(tl.float32)) + by.to(tl.float32)
    tl.store(out + row[:, None] * stride_out + c[None, :], result, mask=mask)
