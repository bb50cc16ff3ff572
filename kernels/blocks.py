"""The two blocks of the network over a row set, as one call or operator by operator.

On a small map a call from Python costs as much as its arithmetic, so where nobody watches and the
C++ kernels run, a block is one call. Both ways give the same bits.
"""

import torch
from torch import Tensor
from torch.nn import Module

from nitrogen.kernels import dispatch
from nitrogen.kernels.cpu import fused
from nitrogen.kernels.gradients import wants_gradient
from nitrogen.kernels.plan import RowSet
from nitrogen.kernels.providers import takes_cpp


def mlp_block(
    x: Tensor,  # [b, h, w, c]
    taps: Tensor,  # [c, 1, 3, 3]
    modulation: Tensor,  # [b, 3 c]: shift, scale and gate
    weights: tuple[Tensor, Tensor, Tensor, Tensor],  # w_in [e, c], b_in, w_out [c, e], b_out
    rows: RowSet,
    hidden_per_quarter: int,
    residual: Tensor,  # [b, h, w, c], written at active rows
) -> tuple[Tensor, Tensor]:
    """x + gate * residual with residual = MLP(modulate(depthwise(rms_norm(x)))), and residual."""
    if one_call(x, taps, modulation, *weights):
        args = (x, taps, modulation, weights, rows.rows, rows.counts, hidden_per_quarter, residual)
        return fused.mlp_block(*args), residual
    shift, scale, gate = modulation.chunk(3, dim=-1)
    mixed = dispatch.depthwise(x, taps, shift, scale, rows)
    out = dispatch.row_mlp(mixed, weights, rows, hidden_per_quarter, flat(residual))
    return add(x, gate, out), out.view(x.shape)


def attention_block(
    x: Tensor,  # [b, h, w, c]
    modulation: Tensor,  # [b, 3 c]: shift, scale and gate
    w_qkv: Tensor,  # [3 c, c]
    w_proj: Tensor,  # [c, c]
    num_heads: int,
    rows: RowSet,
    attended: Tensor,  # [b, h, w, c], written at active rows
    qkv: Tensor,  # [b, h, w, 3 c], written at active rows
) -> tuple[Tensor, Tensor, Tensor]:
    """x + gate * attended with attended = w_proj attention(qkv); attended; and qkv."""
    if one_call(x, modulation, w_qkv, w_proj):
        args = (x, modulation, w_qkv, w_proj, num_heads, rows.rows, rows.counts, attended, qkv)
        return fused.attention_block(*args), attended, qkv
    shift, scale, gate = modulation.chunk(3, dim=-1)
    rows_per_sample = x.shape[1] * x.shape[2]
    new = dispatch.row_qkv(flat(x), shift, scale, w_qkv, rows, rows_per_sample, flat(qkv))
    mixed = dispatch.row_attention(new.view(qkv.shape), rows, num_heads)
    out = dispatch.row_linear(mixed, w_proj, None, rows, flat(attended))
    return add(x, gate, out), out.view(x.shape), new.view(qkv.shape)


def one_call(x: Tensor, *others: Tensor) -> bool:
    """Whether `kernels.cpu.fused` may run: nobody watches, no gradient is wanted, the C++ is on."""
    if dispatch.watched() or (torch.is_grad_enabled() and wants_gradient((x, *others))):
        return False
    return takes_cpp(x)


def parameters_of(module: Module) -> tuple[Tensor, ...]:
    """Every weight of a module where gradients are taken, for `one_call`: any may be trained."""
    return tuple(module.parameters()) if torch.is_grad_enabled() else ()


def add(x: Tensor, gate: Tensor, residual: Tensor) -> Tensor:
    """x + gate * residual. x: [b, h, w, c], gate: [b, c], residual: [m, c]."""
    return dispatch.gated_add(flat(x), gate, residual, x.shape[1] * x.shape[2]).view(x.shape)


def flat(x: Tensor) -> Tensor:
    """[b, h, w, c] -> [m, c], one row a position."""
    return x.reshape(-1, x.shape[-1])
