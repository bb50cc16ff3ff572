"""Blocks of the U-Net: each has a dense path and a path over rows that are active.

Dense: every position, plain layers, the path of training. Rows: gathered rows in padded blocks,
results stored into the cache, held rows contribute what the cache holds.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nitrogen.kernels.depthwise import depthwise3x3
from nitrogen.kernels.linear import block_of, row_linear
from nitrogen.kernels.norm import modulate, rms_norm
from nitrogen.kernels.row_mlp import dense_mlp, row_mlp
from nitrogen.model.regions import RowGroup

MAX_KEY_SIDE = 16  # keys and values are pooled to at most 16 x 16 tokens


def gather(flat: Tensor, rows: Tensor) -> Tensor:
    """flat: [m, c], rows: [n] sorted. All rows in order need no copy."""
    return flat if rows.numel() == flat.shape[0] else flat[rows]


def store(target: Tensor, rows: Tensor, values: Tensor) -> Tensor:
    """target: [b, h, w, c] with `values` at `rows`; in place unless a gradient is wanted."""
    flat, values = target.view(-1, target.shape[-1]), values.to(target.dtype)  # under autocast
    if torch.is_grad_enabled():
        return flat.index_copy(0, rows, values).view(target.shape)
    flat.index_copy_(0, rows, values)
    return target


class Modulation:
    """shift, scale and gate of one block for every sample; each [b, c]."""

    def __init__(self, parts: Tensor):
        self.shift, self.scale, self.gate = parts.chunk(3, dim=-1)

    def dense(self, x: Tensor) -> Tensor:
        """x: [b, h, w, c]."""
        return modulate(x, self.shift[:, None, None], self.scale[:, None, None])

    def rows(self, values: Tensor, samples: Tensor) -> Tensor:
        """values: [n, c]; samples: [n] int64, the sample of each row."""
        return modulate(values, self.shift[samples], self.scale[samples])

    def add(self, x: Tensor, residual: Tensor) -> Tensor:
        """x + gate * residual, both [b, h, w, c]."""
        return x + self.gate[:, None, None] * residual


class MLPBlock(nn.Module):
    """x + gate * MLP(modulate(depthwise(norm(x)))): the ConvNeXt / DiCo kind of block."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.depthwise = nn.Parameter(torch.empty(channels, 1, 3, 3))
        self.w_in = nn.Parameter(torch.empty(hidden, channels))
        self.b_in = nn.Parameter(torch.zeros(hidden))
        self.w_out = nn.Parameter(torch.empty(channels, hidden))
        self.b_out = nn.Parameter(torch.zeros(channels))
        nn.init.kaiming_normal_(self.depthwise, nonlinearity="linear")
        nn.init.kaiming_normal_(self.w_in, nonlinearity="relu")
        nn.init.kaiming_normal_(self.w_out, nonlinearity="linear")

    def forward(self, x: Tensor, modulation: Modulation, num_hidden: int) -> Tensor:
        """Dense path. x: [b, h, w, c] -> [b, h, w, c]."""
        mixed = modulation.dense(depthwise3x3(rms_norm(x), self.depthwise))
        residual = dense_mlp(mixed, self.w_in, self.b_in, self.w_out, self.b_out, num_hidden)
        return modulation.add(x, residual)

    def forward_rows(
        self,
        x: Tensor,  # [b, h, w, c]
        modulation: Modulation,
        groups: list[RowGroup],
        residual: Tensor,  # [b, h, w, c], from the cache
        hidden_per_quarter: int,
    ) -> tuple[Tensor, Tensor]:
        """Path over rows. Returns x of the next block and the updated residual."""
        mixed = depthwise3x3(rms_norm(x), self.depthwise)
        flat, rows_per_sample = mixed.reshape(-1, x.shape[-1]), x.shape[1] * x.shape[2]
        for group in groups:
            values = modulation.rows(gather(flat, group.rows), group.rows // rows_per_sample)
            num_hidden = hidden_per_quarter * group.quarters
            weights = (self.w_in, self.b_in, self.w_out, self.b_out)
            out = row_mlp(values, *weights, num_hidden, block_of(rows_per_sample))
            residual = store(residual, group.rows, out)
        return modulation.add(x, residual), residual


class AttentionBlock(nn.Module):
    """x + gate * proj(attention(modulate(norm(x)))), keys and values pooled to 16 x 16 tokens."""

    def __init__(self, channels: int, head_channels: int):
        super().__init__()
        self.num_heads = channels // head_channels
        self.w_qkv = nn.Parameter(torch.randn(3 * channels, channels) / math.sqrt(channels))
        self.w_proj = nn.Parameter(torch.randn(channels, channels) / math.sqrt(channels))

    def forward(self, x: Tensor, modulation: Modulation) -> Tensor:
        """Dense path. x: [b, h, w, c] -> [b, h, w, c]."""
        qkv = F.linear(modulation.dense(rms_norm(x)), self.w_qkv)
        return modulation.add(x, F.linear(self._attend(qkv), self.w_proj))

    def forward_rows(
        self,
        x: Tensor,  # [b, h, w, c]
        modulation: Modulation,
        rows: Tensor,  # [n] int64, active at any width
        attended: Tensor,  # [b, h, w, c], from the cache
        qkv: Tensor,  # [b, h, w, 3 c], from the cache
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Path over rows. Returns x of the next block, and the updated attended and qkv."""
        channels, rows_per_sample = x.shape[-1], x.shape[1] * x.shape[2]
        block = block_of(rows_per_sample)
        values = gather(rms_norm(x).reshape(-1, channels), rows)
        values = modulation.rows(values, rows // rows_per_sample)
        qkv = store(qkv, rows, row_linear(values, self.w_qkv, None, block))
        mixed = gather(self._attend(qkv).reshape(-1, channels), rows)
        attended = store(attended, rows, row_linear(mixed, self.w_proj, None, block))
        return modulation.add(x, attended), attended, qkv

    def _attend(self, qkv: Tensor) -> Tensor:
        """qkv: [b, h, w, 3 c] -> [b, h, w, c]; queries and keys normalised per head."""
        b, h, w, c3 = qkv.shape
        q, k, v = qkv.chunk(3, dim=-1)
        k, v = pool_keys(k), pool_keys(v)
        q, k, v = (self._heads(part) for part in (q, k, v))
        out = F.scaled_dot_product_attention(rms_norm(q), rms_norm(k), v)
        return out.transpose(1, 2).reshape(b, h, w, c3 // 3)

    def _heads(self, x: Tensor) -> Tensor:
        """[b, h, w, c] -> [b, heads, h * w, c / heads]."""
        b, h, w, c = x.shape
        return x.reshape(b, h * w, self.num_heads, c // self.num_heads).transpose(1, 2)


def pool_keys(x: Tensor) -> Tensor:
    """Mean-pools [b, h, w, c] to at most 16 x 16 positions, so cost per pixel stays constant."""
    height, width = min(x.shape[1], MAX_KEY_SIDE), min(x.shape[2], MAX_KEY_SIDE)
    if (height, width) == tuple(x.shape[1:3]):
        return x
    pooled = F.adaptive_avg_pool2d(x.permute(0, 3, 1, 2), (height, width))
    return pooled.permute(0, 2, 3, 1)
