"""Attention of active rows to the whole map, whose keys and values are pooled to 16 x 16 tokens."""

from torch import Tensor
from torch.nn import functional as F

from nitrogen.kernels.norm import rms_norm

MAX_KEY_SIDE = 16  # keys and values are pooled to at most 16 x 16 tokens


def row_attention(qkv: Tensor, rows: Tensor, counts: Tensor, num_heads: int) -> Tensor:
    """`attend`, of which only the results at active rows are wanted. Returns [m, c]."""
    return attend(qkv, num_heads).reshape(-1, qkv.shape[3] // 3)


def attend(qkv: Tensor, num_heads: int) -> Tensor:
    """softmax(q k / sqrt(d)) v per head; queries and keys normalised per head, d = c / num_heads.

    qkv: [b, h, w, 3c] -> [b, h, w, c].
    """
    b, h, w, c3 = qkv.shape
    q, k, v = qkv.chunk(3, dim=-1)
    q, k, v = (_heads(part, num_heads) for part in (q, pool_keys(k), pool_keys(v)))
    out = F.scaled_dot_product_attention(rms_norm(q), rms_norm(k), v)
    return out.transpose(1, 2).reshape(b, h, w, c3 // 3)


def pool_keys(x: Tensor) -> Tensor:
    """Mean-pools [b, h, w, c] to at most 16 x 16 positions, so cost per pixel stays constant."""
    height, width = min(x.shape[1], MAX_KEY_SIDE), min(x.shape[2], MAX_KEY_SIDE)
    if (height, width) == tuple(x.shape[1:3]):
        return x
    pooled = F.adaptive_avg_pool2d(x.permute(0, 3, 1, 2), (height, width))
    return pooled.permute(0, 2, 3, 1)


def _heads(x: Tensor, num_heads: int) -> Tensor:
    """[b, h, w, c] -> [b, heads, h * w, c / heads]."""
    b, h, w, c = x.shape
    return x.reshape(b, h * w, num_heads, c // num_heads).transpose(1, 2)
