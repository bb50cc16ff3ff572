"""The gated residual of every row: x + gate * residual."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from nitrogen.kernels.gpu.launch import flat_rows, launch
from nitrogen.kernels.gpu.tuning import choose


def gated_add(
    x: Tensor,  # [m, c]
    gate: Tensor,  # [b, c]
    residual: Tensor,  # [m, c]
    rows_per_sample: int,
) -> Tensor:
    """[m, c], every row: held ones add what the cache holds."""
    x, gate, residual = flat_rows(x), flat_rows(gate), flat_rows(residual)
    m, c = x.shape
    out = torch.empty(m, c, dtype=x.dtype, device=x.device)
    config = choose("gated_add", x.dtype, c)
    launch(
        gated_add_kernel, (triton.cdiv(m, config.blocks["BLOCK_M"]),), config, x=x, gate=gate,
        residual=residual, out=out, stride_x=x.stride(0), stride_gate=gate.stride(0),
        stride_residual=residual.stride(0), stride_out=out.stride(0), num_rows=m, channels=c,
        rows_per_sample=rows_per_sample,
    )  # fmt: skip
    return out


@triton.jit
def gated_add_kernel(
    x, gate, residual, out, stride_x, stride_gate, stride_residual, stride_out, num_rows, channels,
    rows_per_sample, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK_M rows, all channels."""
    row = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    sample, c = row // rows_per_sample, tl.arange(0, BLOCK_C)
    mask = (row < num_rows)[:, None] & (c < channels)[None, :]
    base = tl.load(x + row[:, None] * stride_x + c[None, :], mask=mask, other=0.0)
    added = tl.load(residual + row[:, None] * stride_residual + c[None, :], mask=mask, other=0.0)
    by = tl.load(gate + sample[:, None] * stride_gate + c[None, :], mask=mask, other=0.0)
    result = base.to(tl.float32) + by.to(tl.float32) * added.to(tl.float32)
    tl.store(out + row[:, None] * stride_out + c[None, :], result, mask=mask)
