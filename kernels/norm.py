"""Per-pixel RMS normalisation: no statistics over space, so no region depends on another."""

import torch
from torch import Tensor


def rms_norm(x: Tensor, eps: float = 1e-6) -> Tensor:
    """x: [..., c] -> [..., c], x / sqrt(mean_c(x^2) + eps), per position."""
    return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + eps)


def modulate(rows: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """rows * (1 + scale) + shift, all broadcastable to [..., c]."""
    return rows * (1 + scale) + shift
