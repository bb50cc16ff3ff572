"""The operators as the model calls them: over row sets, on whatever device the tensors are.

A call goes straight to its provider. Where torch watches (torch.compile, torch.export, a counter of
FLOPs) it goes through the registered operator instead. An operator that writes into a buffer
returns it: the same tensor, or a new one where a gradient is wanted.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from nitrogen.kernels import operators
from nitrogen.kernels.autocast import lowered, lowered_map
from nitrogen.kernels.gradients import wants_gradient
from nitrogen.kernels.plan import RowSet, every_row
from nitrogen.kernels.providers import provider


def call(name: str, *args: Any) -> Any:
    """Runs the operator `name`; see the contract of each below."""
    through_a_buffer = operators.DECLARED[name].writes and trains(args)
    # A counter of FLOPs sees the products of the plain path, backward too; a compiler could not
    # follow how many rows it has.
    if not watched() or (through_a_buffer and not torch.compiler.is_compiling()):
        result = provider(name, args)(*args)
    elif through_a_buffer:
        result = getattr(torch.ops.nitrogen, f"{name}_new")(*args)
    else:
        result = getattr(torch.ops.nitrogen, name)(*args)
    return args[-1] if result is None else result


def trains(args: tuple[Any, ...]) -> bool:
    """Whether a gradient is wanted of a call with these arguments."""
    return torch.is_grad_enabled() and wants_gradient(args)


def watched() -> bool:
    """Whether torch is to see operators: under a compiler, an export or a dispatch mode."""
    return torch.compiler.is_compiling() or is_in_torch_dispatch_mode()


def holds(condition: Tensor) -> bool | None:
    """Whether a condition on values holds; None under a compiler, where asking would end its graph
    and whoever asks takes the way that is right for either answer."""
    return None if torch.compiler.is_compiling() else bool(condition)


def plan_rows(widths: Tensor, caps: Tensor, height: int, width: int) -> RowSet:
    """widths: [b, rh, rw] int64 quarters, caps: [b] int64 -> the rows of a height x width map."""
    return RowSet(*call("plan_rows", widths, caps, height, width))


def norm_modulate(
    x: Tensor, shift: Tensor, scale: Tensor, rows: RowSet, rows_per_sample: int
) -> Tensor:
    """rms_norm(x) (1 + scale) + shift. x: [m, c], shift, scale: [b, c] -> [m, c], active rows."""
    args = (x, shift, scale, rows.rows, rows.counts, rows_per_sample, 1e-6)
    return call("norm_modulate", *args)


def depthwise(x: Tensor, weight: Tensor, shift: Tensor, scale: Tensor, rows: RowSet) -> Tensor:
    """modulate(depthwise3x3(rms_norm(x))). x: [b, h, w, c] -> [m, c], active rows."""
    return call("depthwise", x, weight, shift, scale, rows.rows, rows.counts)


def row_mlp(
    x: Tensor,  # [m, c]
    weights: tuple[Tensor, Tensor, Tensor, Tensor],  # w_in [e, c], b_in, w_out [c, e], b_out
    rows: RowSet,
    hidden_per_quarter: int,
    residual: Tensor,  # [m, c]
) -> Tensor:
    """residual with the MLP of each active row at that row's width."""
    w_in, b_in, w_out, b_out = weights
    low = lowered_map(x), lowered(w_in), b_in, lowered(w_out), b_out
    args = (*low, rows.rows, rows.counts, hidden_per_quarter, residual)
    return call("row_mlp", *args)


def gated_add(x: Tensor, gate: Tensor, residual: Tensor, rows_per_sample: int) -> Tensor:
    """x + gate * residual. x, residual: [m, c], gate: [b, c] -> [m, c], every row."""
    return call("gated_add", x, gate, residual, rows_per_sample)


def row_linear(x: Tensor, weight: Tensor, bias: Tensor | None, rows: RowSet, out: Tensor) -> Tensor:
    """out [m, e] with x [m, c] weight^T + bias at active rows."""
    args = (lowered_map(x), lowered(weight), bias, rows.rows, rows.counts, out)
    return call("row_linear", *args)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear layer whose bits for a row do not depend on the other rows, except in training.

    x: [..., c], weight: [e, c], bias: [e] -> [..., e].
    """
    if trains((x, weight)):
        return F.linear(x, weight, bias)
    flat = x.reshape(-1, x.shape[-1])
    out = flat.new_empty(flat.shape[0], weight.shape[0])
    out = row_linear(flat, weight, bias, everything(flat.shape[0], x.device), out)
    return out.view(*x.shape[:-1], -1)


def everything(num_rows: int, device: torch.device) -> RowSet:
    """All rows at full width; kept, for it costs as much to make as a small kernel takes."""
    if watched():
        return every_row(num_rows, device)
    return _kept_rows(num_rows, device)


@lru_cache(maxsize=64)
def _kept_rows(num_rows: int, device: torch.device) -> RowSet:
    with torch.inference_mode(False):
        return every_row(num_rows, device)


def row_qkv(
    x: Tensor, shift: Tensor, scale: Tensor, w_qkv: Tensor, rows: RowSet, rows_per_sample: int,
    qkv: Tensor,
) -> Tensor:  # fmt: skip
    """qkv [m, 3c] with w_qkv norm_modulate(x) at active rows. x: [m, c]."""
    args = (x, shift, scale, lowered(w_qkv), rows.rows, rows.counts, rows_per_sample, qkv)
    return call("row_qkv", *args)


def row_attention(qkv: Tensor, rows: RowSet, num_heads: int) -> Tensor:
    """Queries of active rows to pooled keys and values. qkv: [b, h, w, 3c] -> [m, c]."""
    return call("row_attention", lowered_map(qkv), rows.rows, rows.counts, num_heads)


def region_stats(denoised: Tensor, last: Tensor, grid: tuple[int, int]) -> Tensor:
    """[b, rh, rw, ch + 2]: means of D per channel, of D^2, and of (D - last)^2."""
    return call("region_stats", denoised, last, *grid)


def ode_exit(
    x: Tensor, denoised: Tensor, last: Tensor, sigma: Tensor, sigma_next: Tensor,
    sigma_last: Tensor, held: Tensor,
) -> Tensor:  # fmt: skip
    """x at sigma_next: DPM-Solver++(2M), held regions in closed form. See `kernels.regions`."""
    return call("ode_exit", x, denoised, last, sigma, sigma_next, sigma_last, held)
