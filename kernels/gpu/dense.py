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

from nitrogen.kernels.norm import norm_modulate
from nitrogen.kernels.providers import EAGER
from nitrogen.kernels.row_mlp import dense_mlp


def row_mlp(
    x: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, b_out: Tensor, *_: Any
) -> Tensor:  # fmt: skip
    """[m, c]: two linear layers and GELU."""
    return dense_mlp(x, w_in, b_in, w_out, b_out, w_in.shape[0])


def row_linear(x: Tensor, weight: Tensor, bias: Tensor | None, *_: Any) -> Tensor:
    return F.linear(x, weight, bias)


def row_qkv(
    x: Tensor, shift: Tensor, scale: Tensor, w_qkv: Tensor, rows: Tensor, counts: Tensor,
    rows_per_sample: int, *_: Any,
) -> Tensor:  # fmt: skip
    mixed = norm_modulate(x, shift, scale, rows, counts, rows_per_sample)
    return F.linear(mixed, w_qkv)


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


OWN = (row_mlp, row_linear, row_qkv, ode_exit)
# The plain paths of these are dense as they are: they compute every row, and look none up.
AS_PLAIN = ("norm_modulate", "row_attention", "depthwise", "gated_add", "region_stats")
DENSE: dict[str, Callable[..., Tensor]] = {
    **{f.__name__: f for f in OWN},
    **{name: EAGER[name] for name in AS_PLAIN},
}
