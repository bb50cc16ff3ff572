"""The pointwise MLP `C -> E -> C` over rows, at any nested width of its hidden layer.

Width is a number at run time: the first `num_hidden` units of one weight, never another copy.
"""

from torch import Tensor
from torch.nn import functional as F

from nitrogen.kernels.linear import BLOCK, blocked_linear, pad_rows, store
from nitrogen.kernels.plan import width_groups


def dense_mlp(
    x: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, b_out: Tensor, num_hidden: int
) -> Tensor:
    """Every position of x at one width; the path of training.

    x: [..., c], w_in: [e, c], b_in: [e], w_out: [c, e], b_out: [c], num_hidden <= e.
    Returns [..., c].
    """
    hidden = F.gelu(F.linear(x, w_in[:num_hidden], b_in[:num_hidden]))
    return F.linear(hidden, w_out[:, :num_hidden], b_out)


def row_mlp(
    x: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, b_out: Tensor, rows: Tensor,
    counts: Tensor, hidden_per_quarter: int, residual: Tensor,
) -> Tensor:  # fmt: skip
    """residual [m, c] with the MLP of each active row of x [m, c] at that row's width.

    The activation runs on whole blocks too: its vectorised body and scalar tail differ in the last
    bit.
    """
    for quarters, group in width_groups(rows, counts):
        num_hidden = hidden_per_quarter * quarters
        padded = pad_rows(x[group], BLOCK)
        hidden = F.gelu(blocked_linear(padded, w_in[:num_hidden], b_in[:num_hidden], BLOCK))
        out = blocked_linear(hidden, w_out[:, :num_hidden], b_out, BLOCK)
        residual = store(residual, group, out[: group.shape[0]])
    return residual
