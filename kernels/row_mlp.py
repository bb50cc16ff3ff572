"""The pointwise MLP `C -> E -> C` over rows, at any nested width of its hidden layer.

Width is a number at run time: the first `num_hidden` units of one weight, never another copy.
"""

from torch import Tensor
from torch.nn import functional as F

from nitrogen.kernels.linear import FEW_ROWS, blocked_linear, pad_rows


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
    rows: Tensor,
    w_in: Tensor,
    b_in: Tensor,
    w_out: Tensor,
    b_out: Tensor,
    num_hidden: int,
    block: int = FEW_ROWS,
) -> Tensor:
    """The same for gathered rows, in padded blocks (see `kernels.linear`).

    rows: [n, c]; n may be 0. Returns [n, c]. The activation runs on whole blocks too: its
    vectorised body and scalar tail differ in the last bit.
    """
    num_rows = rows.shape[0]
    if num_rows == 0:
        return rows
    padded = pad_rows(rows, block)
    hidden = F.gelu(blocked_linear(padded, w_in[:num_hidden], b_in[:num_hidden], block))
    return blocked_linear(hidden, w_out[:, :num_hidden], b_out, block)[:num_rows]
