"""The dense MLP in fewer bits, as torch has it on a processor: what bf16 and int8 would give.

Neither passes the tolerance of float32, so they stand beside the kernels with their error, not
among them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from nitrogen.kernels.reference import mlp_reference, relative_rms
from nitrogen.kernels.row_mlp import dense_mlp

CHECKED_ROWS = 64


def lower_precision(
    x: Tensor, weights: tuple[Tensor, Tensor, Tensor, Tensor]
) -> dict[str, tuple[Callable[[], Any], float]]:
    """name -> (call, relative RMS to float64 over some rows). x: [m, c]; weights of a dense MLP."""
    hidden = weights[0].shape[0]
    w_in, b_in, w_out, b_out = (w.bfloat16() for w in weights)
    half_x, int8 = x.bfloat16(), dynamic_int8(weights)
    calls: dict[str, Callable[[], Tensor]] = {
        "torch bf16": lambda: dense_mlp(half_x, w_in, b_in, w_out, b_out, hidden),
        "torch int8 dynamic": lambda: int8(x),
    }
    expected = mlp_reference(x[:CHECKED_ROWS], *weights, hidden)
    return {
        name: (call, relative_rms(call()[:CHECKED_ROWS], expected)) for name, call in calls.items()
    }


def dynamic_int8(weights: tuple[Tensor, Tensor, Tensor, Tensor]) -> nn.Module:
    """Weights in int8 per tensor, activations quantised at every call (torch, FBGEMM)."""
    w_in, b_in, w_out, b_out = weights
    plain = nn.Sequential(linear(w_in, b_in), nn.GELU(), linear(w_out, b_out))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is to move to torchao; measured here, not relied on
        quantised: nn.Module = torch.ao.quantization.quantize_dynamic(
            plain, {nn.Linear}, dtype=torch.qint8
        )
    return quantised


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0]).requires_grad_(False)
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)
    return layer
