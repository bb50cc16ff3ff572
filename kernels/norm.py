"""Per-pixel RMS normalisation, modulation and the gated residual: no statistics over space."""

import torch
from torch import Tensor

from nitrogen.kernels.plan import sample_of


def rms_norm(x: Tensor, eps: float = 1e-6) -> Tensor:
    """x: [..., c] -> [..., c], x / sqrt(mean_c(x^2) + eps), per position."""
    return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + eps)


def modulate(rows: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """rows * (1 + scale) + shift, all broadcastable to [..., c]."""
    return rows * (1 + scale) + shift


def norm_modulate(
    x: Tensor, shift: Tensor, scale: Tensor, rows: Tensor, counts: Tensor, rows_per_sample: int,
    eps: float = 1e-6,
) -> Tensor:  # fmt: skip
    """modulate(rms_norm(x)). x: [m, c], shift and scale: [b, c] -> [m, c], here at every row."""
    samples = sample_of(x.shape[0], rows_per_sample, x.device)
    return modulate(rms_norm(x, eps), shift[samples], scale[samples])


def gated_add(x: Tensor, gate: Tensor, residual: Tensor, rows_per_sample: int) -> Tensor:
    """x + gate * residual at every row. x, residual: [m, c], gate: [b, c] -> [m, c]."""
    return x + gate[sample_of(x.shape[0], rows_per_sample, x.device)] * residual
