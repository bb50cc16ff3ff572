"""A linear layer over active rows: out[row] = weight x[row] + bias."""

import triton
import triton.language as tl
from torch import Tensor

from nitrogen.kernels.gpu.launch import flat_rows, interpreted, launch, written
from nitrogen.kernels.gpu.rows import row_block, row_blocks, tile_product
from nitrogen.kernels.gpu.tuning import choose


def row_linear(
    x: Tensor,  # [m, c]
    weight: Tensor,  # [e, c]
    bias: Tensor | None,  # [e]
    rows: Tensor,  # [m] int64
    counts: Tensor,  # [5] int64
    out: Tensor,  # [m, e], written at active rows
) -> None:
    """Writes the layer's output of active rows into out."""
    x, weight, out = flat_rows(x), flat_rows(weight), written(out, "out")
    (m, c), e = x.shape, weight.shape[0]
    config = choose("row_linear", weight.dtype, c)
    grid = (
        row_blocks(m, config.blocks["BLOCK_M"]),
        triton.cdiv(e, config.blocks["BLOCK_N"]),
    )
    launch(
        row_linear_kernel, grid, config, x=x, weight=weight, bias=weight if bias is None else bias,
        rows=rows, counts=counts, out=out, stride_x=x.stride(0), stride_w=weight.stride(0),
        stride_out=out.stride(0), num_in=c, num_out=e, HAS_BIAS=bias is not None,
        UPCAST=interpreted(),
    )  # fmt: skip


@triton.jit
def row_linear_kernel(
    x, weight, bias, rows, counts, out, stride_x, stride_w, stride_out, num_in, num_out,
    HAS_BIAS: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    UPCAST: tl.constexpr,
):  # fmt: skip
    """One program: one block of rows by BLOCK_N outputs."""
    first, end, quarters = row_block(counts, BLOCK_M)
    if quarters == 0:
        return
    position = first + tl.arange(0, BLOCK_M)
    valid = position < end
    row = tl.load(rows + position, mask=valid, other=0)
    n = tl.program_id(1).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    in_n = n < num_out
    acc = tile_product(
        x + row * stride_x, valid, weight + n * stride_w, in_n, num_in,
        BLOCK_M, BLOCK_N, BLOCK_K, UPCAST,
    )  # fmt: skip
    if HAS_BIAS:
        acc += tl.load(bias + n, mask=in_n, other=0.0).to(tl.float32)[None, :]
    place = out + row[:, None] * stride_out + n[None, :]
    tl.store(place, acc, mask=valid[:, None] & in_n[None, :])
