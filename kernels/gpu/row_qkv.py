"""Queries, keys and values of active rows; norm and modulation happen while rows are loaded.

qkv[row] = w_qkv (rms_norm(x[row]) (1 + scale) + shift), written over what held rows keep.
"""

import triton
import triton.language as tl
from torch import Tensor

from nitrogen.kernels.gpu.launch import flat_rows, interpreted, launch, written
from nitrogen.kernels.gpu.rows import product, row_block, row_blocks
from nitrogen.kernels.gpu.tuning import choose

EPS = 1e-6


def row_qkv(
    x: Tensor,  # [m, c]
    shift: Tensor,  # [b, c]
    scale: Tensor,  # [b, c]
    w_qkv: Tensor,  # [3 c, c]
    rows: Tensor,  # [m] int64
    counts: Tensor,  # [5] int64
    rows_per_sample: int,
    qkv: Tensor,  # [m, 3 c], written at active rows
) -> None:
    """Writes the projection of active rows into qkv, in one launch."""
    x, w_qkv, qkv = flat_rows(x), flat_rows(w_qkv), written(qkv, "qkv")
    shift, scale = flat_rows(shift), flat_rows(scale)
    (m, c), e = x.shape, w_qkv.shape[0]
    config = choose("row_qkv", x.dtype, c)
    grid = (
        row_blocks(m, config.blocks["BLOCK_M"]),
        triton.cdiv(e, config.blocks["BLOCK_N"]),
    )
    launch(
        row_qkv_kernel, grid, config, x=x, shift=shift, scale=scale, weight=w_qkv, rows=rows,
        counts=counts, qkv=qkv, stride_x=x.stride(0), stride_shift=shift.stride(0),
        stride_scale=scale.stride(0), stride_w=w_qkv.stride(0), stride_qkv=qkv.stride(0),
        num_in=c, num_out=e, rows_per_sample=rows_per_sample, eps=EPS, UPCAST=interpreted(),
    )  # fmt: skip


@triton.jit
def row_qkv_kernel(
    x, shift, scale, weight, rows, counts, qkv, stride_x, stride_shift, stride_scale, stride_w,
    stride_qkv, num_in, num_out, rows_per_sample, eps,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """One program: one block of rows by BLOCK_N outputs; rows are read twice, once for the norm."""
    first, end, quarters = row_block(counts, BLOCK_M)
    if quarters == 0:
        return
    position = first + tl.arange(0, BLOCK_M)
    valid = position < end
    row = tl.load(rows + position, mask=valid, other=0)
    sample = row // rows_per_sample
    k = tl.arange(0, BLOCK_K)
    squares = tl.zeros((BLOCK_M, BLOCK_K), tl.float32)
    for start in range(0, num_in, BLOCK_K):
        mask = valid[:, None] & (start + k < num_in)[None, :]
        place = x + row[:, None] * stride_x + (start + k)[None, :]
        tile = tl.load(place, mask=mask, other=0.0).to(tl.float32)
        squares += tile * tile
    inverse = tl.rsqrt(tl.sum(squares, axis=1) / num_in + eps)
    n = tl.program_id(1).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    in_n = n < num_out
    acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, num_in, BLOCK_K):
        column = start + k
        mask = valid[:, None] & (column < num_in)[None, :]
        tile = tl.load(x + row[:, None] * stride_x + column[None, :], mask=mask, other=0.0)
        up = tl.load(scale + sample[:, None] * stride_scale + column[None, :], mask=mask, other=0.0)
        by = tl.load(shift + sample[:, None] * stride_shift + column[None, :], mask=mask, other=0.0)
        mixed = tile.to(tl.float32) * inverse[:, None]
        mixed = mixed * (1 + up.to(tl.float32)) + by.to(tl.float32)
        w_mask = (column < num_in)[:, None] & in_n[None, :]
        w = tl.load(weight + n[None, :] * stride_w + column[:, None], mask=w_mask, other=0.0)
        acc = product(mixed.to(tile.dtype), w.to(tile.dtype), acc, UPCAST)
    place = qkv + row[:, None] * stride_qkv + n[None, :]
    tl.store(place, acc, mask=valid[:, None] & in_n[None, :])
