"""Blocks of the U-Net: each has a dense path and a path over rows that are active.

Dense: every position, plain layers, the path of training. Rows: operators of `kernels` over a row
set, results stored into the cache; held rows contribute what the cache holds.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nitrogen.kernels.attention import attend
from nitrogen.kernels.blocks import attention_block, mlp_block
from nitrogen.kernels.depthwise import depthwise3x3
from nitrogen.kernels.norm import modulate, rms_norm
from nitrogen.kernels.plan import RowSet
from nitrogen.kernels.row_mlp import dense_mlp


class Modulation:
    """shift, scale and gate of one block for every sample, each [b, c]. parts: [b, 3 c]."""

    def __init__(self, parts: Tensor):
        self.shift, self.scale, self.gate = parts.chunk(3, dim=-1)

    def dense(self, x: Tensor) -> Tensor:
        """x: [b, h, w, c]."""
        return modulate(x, self.shift[:, None, None], self.scale[:, None, None])

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
        modulation: Tensor,  # [b, 3 c]
        rows: RowSet,
        residual: Tensor,  # [b, h, w, c], from the cache
        hidden_per_quarter: int,
    ) -> tuple[Tensor, Tensor]:
        """Path over rows. Returns x of the next block and the updated residual."""
        weights = (self.w_in, self.b_in, self.w_out, self.b_out)
        return mlp_block(x, self.depthwise, modulation, weights, rows, hidden_per_quarter, residual)


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
        return modulation.add(x, F.linear(attend(qkv, self.num_heads), self.w_proj))

    def forward_rows(
        self,
        x: Tensor,  # [b, h, w, c]
        modulation: Tensor,  # [b, 3 c]
        rows: RowSet,
        attended: Tensor,  # [b, h, w, c], from the cache
        qkv: Tensor,  # [b, h, w, 3 c], from the cache
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Path over rows. Returns x of the next block, and the updated attended and qkv."""
        weights = (self.w_qkv, self.w_proj)
        return attention_block(x, modulation, *weights, self.num_heads, rows, attended, qkv)
