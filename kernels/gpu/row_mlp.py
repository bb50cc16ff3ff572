"""The pointwise MLP of active rows, each group at its own width, in one launch or two.

out[row] = w_out[:, :n] gelu(w_in[:n] x[row] + b_in[:n]) + b_out, n = quarters * hidden_per_quarter.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from nitrogen.kernels.gpu.launch import family, flat_rows, interpreted, launch, written
from nitrogen.kernels.gpu.rows import gelu, product, row_block, row_blocks, tile_product
from nitrogen.kernels.gpu.tuning import choose, max_fused_channels


def row_mlp(
    x: Tensor,  # [m, c], mixed and modulated
    w_in: Tensor,  # [e, c]
    b_in: Tensor,  # [e]
    w_out: Tensor,  # [c, e]
    b_out: Tensor,  # [c]
    rows: Tensor,  # [m] int64
    counts: Tensor,  # [5] int64
    hidden_per_quarter: int,
    residual: Tensor,  # [m, c], written at active rows
) -> None:
    """Writes the MLP of active rows into residual. The hidden layer stays on the chip where the
    channels of a row block fit the registers, and goes through memory once where they do not."""
    x, residual = flat_rows(x), written(residual, "residual")
    w_in, w_out = flat_rows(w_in), flat_rows(w_out)
    m, c = x.shape
    wide = c > max_fused_channels(family(), w_in.dtype)
    op = "row_mlp_wide" if wide else "row_mlp"
    config = choose(op, w_in.dtype, c)
    blocks = row_blocks(m, config.blocks["BLOCK_M"])
    shared = dict(
        b_in=b_in, rows=rows, counts=counts, channels=c, hidden_per_quarter=hidden_per_quarter,
        UPCAST=interpreted(),
    )  # fmt: skip
    if not wide:
        launch(
            row_mlp_kernel, (blocks,), config, x=x, w_in=w_in, w_out=w_out, b_out=b_out,
            residual=residual, stride_x=x.stride(0), stride_in=w_in.stride(0),
            stride_out=w_out.stride(0), stride_residual=residual.stride(0), **shared,
        )  # fmt: skip
        return
    hidden = torch.empty(m, w_in.shape[0], dtype=w_in.dtype, device=x.device)
    columns = config.blocks["BLOCK_N"]
    grid = (blocks, triton.cdiv(4 * hidden_per_quarter, columns))
    launch(
        mlp_hidden_kernel, grid, config, x=x, w_in=w_in, hidden=hidden, stride_x=x.stride(0),
        stride_in=w_in.stride(0), stride_hidden=hidden.stride(0), **shared,
    )  # fmt: skip
    launch(
        mlp_out_kernel, (blocks, triton.cdiv(c, columns)), config, hidden=hidden, w_out=w_out,
        b_out=b_out, residual=residual, stride_hidden=hidden.stride(0),
        stride_out=w_out.stride(0), stride_residual=residual.stride(0),
        **{k: v for k, v in shared.items() if k != "b_in"},
    )  # fmt: skip


@triton.jit
def row_mlp_kernel(
    x, w_in, b_in, w_out, b_out, rows, counts, residual, stride_x, stride_in, stride_out,
    stride_residual, channels, hidden_per_quarter,
    BLOCK_M: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_C: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """One program: one block of rows, all channels, the hidden layer in slices of BLOCK_H."""
    first, end, quarters = row_block(counts, BLOCK_M)
    if quarters == 0:
        return
    position = first + tl.arange(0, BLOCK_M)
    valid = position < end
    row = tl.load(rows + position, mask=valid, other=0)
    c, h = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_H)
    in_c, num_hidden = c < channels, (quarters * hidden_per_quarter).to(tl.int32)
    mask = valid[:, None] & in_c[None, :]
    tile = tl.load(x + row[:, None] * stride_x + c[None, :], mask=mask, other=0.0)
    tile = tile.to(w_in.dtype.element_ty)
    acc = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
    into = w_in + h[None, :].to(tl.int64) * stride_in + c[:, None]
    out_of = w_out + c[None, :].to(tl.int64) * stride_out + h[:, None]
    for start in range(0, num_hidden, BLOCK_H):
        in_h = start + h < num_hidden
        w = tl.load(into, mask=in_c[:, None] & in_h[None, :], other=0.0)
        bias = tl.load(b_in + start + h, mask=in_h, other=0.0).to(tl.float32)
        hidden = tl.zeros((BLOCK_M, BLOCK_H), tl.float32)
        hidden = product(tile, w, hidden, UPCAST)
        # Units beyond the width have no weight and no bias, and gelu(0) = 0.
        hidden = gelu(hidden + bias[None, :]).to(tile.dtype)
        w = tl.load(out_of, mask=in_h[:, None] & in_c[None, :], other=0.0)
        acc = product(hidden, w, acc, UPCAST)
        into += BLOCK_H * stride_in
        out_of += BLOCK_H
    acc += tl.load(b_out + c, mask=in_c, other=0.0).to(tl.float32)[None, :]
    tl.store(residual + row[:, None] * stride_residual + c[None, :], acc, mask=mask)


@triton.jit
def mlp_hidden_kernel(
    x, w_in, b_in, rows, counts, hidden, stride_x, stride_in, stride_hidden, channels,
    hidden_per_quarter,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """The active hidden units of a block of rows, stored in the order of `rows`."""
    first, end, quarters = row_block(counts, BLOCK_M)
    num_hidden = quarters * hidden_per_quarter
    if tl.program_id(1) * BLOCK_N >= num_hidden:
        return
    position = first + tl.arange(0, BLOCK_M)
    valid = position < end
    row = tl.load(rows + position, mask=valid, other=0)
    h = tl.program_id(1).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    in_h = h < num_hidden
    acc = tile_product(
        x + row * stride_x, valid, w_in + h * stride_in, in_h, channels,
        BLOCK_M, BLOCK_N, BLOCK_K, UPCAST,
    )  # fmt: skip
    bias = tl.load(b_in + h, mask=in_h, other=0.0).to(tl.float32)
    place = hidden + position[:, None] * stride_hidden + h[None, :]
    tl.store(place, gelu(acc + bias[None, :]), mask=valid[:, None] & in_h[None, :])


@triton.jit
def mlp_out_kernel(
    hidden, w_out, b_out, rows, counts, residual, stride_hidden, stride_out, stride_residual,
    channels, hidden_per_quarter,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """Back to C channels, over the active hidden units, into the rows of `residual`."""
    first, end, quarters = row_block(counts, BLOCK_M)
    if quarters == 0:
        return
    position = first + tl.arange(0, BLOCK_M)
    valid = position < end
    row = tl.load(rows + position, mask=valid, other=0)
    c = tl.program_id(1).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    in_c, num_hidden = c < channels, (quarters * hidden_per_quarter).to(tl.int32)
    acc = tile_product(
        hidden + position * stride_hidden, valid, w_out + c * stride_out, in_c, num_hidden,
        BLOCK_M, BLOCK_N, BLOCK_K, UPCAST,
    )  # fmt: skip
    acc += tl.load(b_out + c, mask=in_c, other=0.0).to(tl.float32)[None, :]
    place = residual + row[:, None] * stride_residual + c[None, :]
    tl.store(place, acc, mask=valid[:, None] & in_c[None, :])
