"""What every operator competes with on a GPU: the plain dense operator over the whole map.

No row set is read, nothing is gathered or scattered: linear layers, a grouped convolution and
scaled dot products as a dense network calls them, in a row-wise layout that is a view. Only
`plan_rows` has no dense form: a dense network plans nothing.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nitrogen.kernels.attention import attend
from nitrogen.kernels.depthwise import depthwise3x3
from nitrogen.kernels.norm import modulate, rms_norm
from nitrogen.kernels.regions import region_stats as plain_stats
from nitrogen.kernels.row_mlp import dense_mlp


def row_mlp(
    x: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, b_out: Tensor, *_: Any
) -> Tensor:  # fmt: skip
    """[m, c]: two linear layers and GELU."""
    return dense_mlp(x, w_in, b_in, w_out, b_out, w_in.shape[0])


def row_linear(x: Tensor, weight: Tensor, bias: Tensor | None, *_: Any) -> Tensor:
    return F.linear(x, weight, bias)


def norm_modulate(
    x: Tensor, shift: Tensor, scale: Tensor, rows: Tensor, counts: Tensor, rows_per_sample: int,
    eps: float = 1e-6,
) -> Tensor:  # fmt: skip
    """A sample's modulation is broadcast over its rows, not looked up for each."""
    maps = x.view(-1, rows_per_sample, x.shape[1])
    return modulate(rms_norm(maps, eps), shift[:, None], scale[:, None]).view_as(x)


def row_qkv(
    x: Tensor, shift: Tensor, scale: Tensor, w_qkv: Tensor, rows: Tensor, counts: Tensor,
    rows_per_sample: int, *_: Any,
) -> Tensor:  # fmt: skip
    return F.linear(norm_modulate(x, shift, scale, rows, counts, rows_per_sample), w_qkv)


def row_attention(qkv: Tensor, rows: Tensor, counts: Tensor, num_heads: int) -> Tensor:
    """[m, c]: pooled keys and values, `scaled_dot_product_attention` over the whole map."""
    return attend(qkv, num_heads).reshape(-1, qkv.shape[3] // 3)


def depthwise(x: Tensor, weight: Tensor, shift: Tensor, scale: Tensor, *_: Any) -> Tensor:
    """[m, c]: `conv2d` with a group a channel."""
    mixed = depthwise3x3(rms_norm(x), weight)
    return modulate(mixed, shift[:, None, None], scale[:, None, None]).reshape(-1, x.shape[3])


def gated_add(x: Tensor, gate: Tensor, residual: Tensor, rows_per_sample: int) -> Tensor:
    maps = (-1, rows_per_sample, x.shape[1])
    return (x.view(maps) + gate[:, None] * residual.view(maps)).view_as(x)


def region_stats(denoised: Tensor, last: Tensor, rh: int, rw: int) -> Tensor:
    """It is dense as it is: average pooling."""
    return plain_stats(denoised, last, rh, rw)


def ode_exit(
    x: Tensor, denoised: Tensor, last: Tensor, sigma: Tensor, sigma_next: Tensor,
    sigma_last: Tensor, *_: Any,
) -> Tensor:  # fmt: skip
    """DPM-Solver++(2M) everywhere, for no region is held where everything is computed."""
    s, s_next, s_last = (v.double() for v in (sigma, sigma_next, sigma_last))
    half = (s / s_next).log() / (2 * (s_last / s).log())
    half = torch.where((s_next == 0) | s_last.isnan(), 0.0, half).to(x.dtype)[:, None, None, None]
    target = denoised + half * (denoised - last)
    return target + (s_next / s).to(x.dtype)[:, None, None, None] * (x - target)


DENSE: dict[str, Callable[..., Tensor]] = {
    f.__name__: f
    for f in (
        row_mlp, row_linear, norm_modulate, row_qkv, row_attention, depthwise, gated_add,
        region_stats, ode_exit,
    )
}  # fmt: skip
