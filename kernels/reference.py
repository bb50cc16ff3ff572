"""Naive float64 references: what every kernel must equal. Nothing here is fast."""

import math

import torch
from torch import Tensor


def gelu_reference(x: Tensor) -> Tensor:
    """Exact GELU, x Phi(x) (Hendrycks and Gimpel 2016, eq. 1)."""
    x = x.double()
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def mlp_reference(
    rows: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, b_out: Tensor, num_hidden: int
) -> Tensor:
    """rows: [n, c] -> [n, c], one row at a time."""
    hidden_in, hidden_out = w_in.double()[:num_hidden], w_out.double()[:, :num_hidden]
    out = torch.zeros(rows.shape, dtype=torch.float64)
    for index, row in enumerate(rows.double()):
        hidden = gelu_reference(hidden_in @ row + b_in.double()[:num_hidden])
        out[index] = hidden_out @ hidden + b_out.double()
    return out


def rms_norm_reference(x: Tensor, eps: float = 1e-6) -> Tensor:
    """x: [..., c]."""
    x = x.double()
    return x / torch.sqrt((x * x).sum(-1, keepdim=True) / x.shape[-1] + eps)


def depthwise3x3_reference(x: Tensor, weight: Tensor) -> Tensor:
    """x: [b, h, w, c], weight: [c, 1, 3, 3]; nine explicit taps over a zero border."""
    _, height, width, _ = x.shape
    padded = torch.nn.functional.pad(x.double(), (0, 0, 1, 1, 1, 1))
    out = torch.zeros(x.shape, dtype=torch.float64)
    for i in range(3):
        for j in range(3):
            tap = weight.double()[:, 0, i, j]
            out += padded[:, i : i + height, j : j + width] * tap
    return out
