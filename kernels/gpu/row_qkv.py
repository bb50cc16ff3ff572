"""Queries, keys and values of active rows: qkv[row] = w_qkv (rms_norm(x[row]) (1 + scale) + shift).

In two launches. One kernel that took the norm while it loaded rows took it anew for every block of
outputs: 2.6 times as long (64 x 16 x 16 x 512, bf16, H200; docs/LOG.md, 2026-11-27).
"""

from torch import Tensor

from nitrogen.kernels.gpu.norm_modulate import norm_modulate
from nitrogen.kernels.gpu.row_linear import row_linear

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
    """Writes the projection of active rows over what held ones keep; what lies between is stored as
    the weight is."""
    mixed = norm_modulate(x, shift, scale, rows, counts, rows_per_sample, EPS, dtype=w_qkv.dtype)
    row_linear(mixed, w_qkv, None, rows, counts, qkv)
