"""Attention of active rows over at most 16 x 16 pooled keys and values of their own sample.

out[row] = softmax(q k / sqrt(d)) v per head, q and k rms-normalised, in two launches: keys and
values are pooled and normalised once, then blocks of queries stream over them.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from nitrogen.kernels.gpu.launch import flat_rows, interpreted, launch
from nitrogen.kernels.gpu.rows import product, row_block, row_blocks
from nitrogen.kernels.gpu.tuning import choose, power_of_two

EPS, MAX_KEY_SIDE = 1e-6, 16


def row_attention(
    qkv: Tensor,  # [b, h, w, 3 c]
    rows: Tensor,  # [m] int64, m = b h w
    counts: Tensor,  # [5] int64
    num_heads: int,
) -> Tensor:
    """[m, c], defined at active rows."""
    b, height, width, c = *qkv.shape[:3], qkv.shape[3] // 3
    flat, per_head = flat_rows(qkv), c // num_heads
    high, wide = min(height, MAX_KEY_SIDE), min(width, MAX_KEY_SIDE)
    pooled = torch.empty(b * high * wide, 2 * c, dtype=qkv.dtype, device=qkv.device)
    out = torch.empty(flat.shape[0], c, dtype=qkv.dtype, device=qkv.device)
    pool, attend = choose("pool_keys", qkv.dtype, c), choose("row_attention", qkv.dtype, per_head)
    launch(
        pool_keys_kernel, (high * wide, b), pool, qkv=flat, pooled=pooled,
        stride_qkv=flat.stride(0), stride_pooled=pooled.stride(0), height=height, width=width,
        high=high, wide=wide, num_heads=num_heads, per_head=per_head, eps=EPS,
        BLOCK_HEADS=power_of_two(num_heads), BLOCK_D=power_of_two(per_head),
    )  # fmt: skip
    blocks = row_blocks(flat.shape[0], attend.blocks["BLOCK_M"])
    launch(
        row_attention_kernel, (blocks, num_heads), attend, qkv=flat, pooled=pooled, rows=rows,
        counts=counts, out=out, stride_qkv=flat.stride(0), stride_pooled=pooled.stride(0),
        stride_out=out.stride(0), num_keys=high * wide, rows_per_sample=height * width,
        channels=c, per_head=per_head, scale=per_head**-0.5, eps=EPS, UPCAST=interpreted(),
        BLOCK_D=max(16, power_of_two(per_head)),
    )  # fmt: skip
    return out


@triton.jit
def pool_keys_kernel(
    qkv, pooled, stride_qkv, stride_pooled, height, width, high, wide, num_heads, per_head, eps,
    BLOCK_HEADS: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """One program: one pooled position of one sample; the window of adaptive mean pooling."""
    token, sample = tl.program_id(0), tl.program_id(1).to(tl.int64)
    i, j = token // wide, token % wide
    top, bottom = i * height // high, ((i + 1) * height + high - 1) // high
    left, right = j * width // wide, ((j + 1) * width + wide - 1) // wide
    head, d = tl.arange(0, BLOCK_HEADS), tl.arange(0, BLOCK_D)
    mask = (head < num_heads)[:, None] & (d < per_head)[None, :]
    channel, c = head[:, None] * per_head + d[None, :], num_heads * per_head
    keys = tl.zeros((BLOCK_HEADS, BLOCK_D), tl.float32)
    values = tl.zeros((BLOCK_HEADS, BLOCK_D), tl.float32)
    for y in range(top, bottom):
        for x in range(left, right):
            place = qkv + ((sample * height + y) * width + x) * stride_qkv + c + channel
            keys += tl.load(place, mask=mask, other=0.0).to(tl.float32)
            values += tl.load(place + c, mask=mask, other=0.0).to(tl.float32)
    share = 1 / ((bottom - top) * (right - left)).to(tl.float32)
    keys, values = keys * share, values * share
    keys *= tl.rsqrt(tl.sum(keys * keys, axis=1) / per_head + eps)[:, None]
    place = pooled + (sample * high * wide + token) * stride_pooled + channel
    tl.store(place, keys, mask=mask)
    tl.store(place + c, values, mask=mask)


@triton.jit
def row_attention_kernel(
    qkv, pooled, rows, counts, out, stride_qkv, stride_pooled, stride_out, num_keys,
    rows_per_sample, channels, per_head, scale, eps,
    BLOCK_M: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """One program: one block of rows, one head. Rows of a group ascend, so the samples of a block
    are a range: each is visited once, and changes nothing for the rows of the others."""
    first, end, quarters = row_block(counts, BLOCK_M)
    if quarters == 0:
        return
    position = first + tl.arange(0, BLOCK_M)
    valid = position < end
    row = tl.load(rows + position, mask=valid, other=0)
    sample = tl.where(valid, row // rows_per_sample, -1)
    d, t = tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_T)
    in_d, column = d < per_head, tl.program_id(1) * per_head + d
    mask = valid[:, None] & in_d[None, :]
    raw = tl.load(qkv + row[:, None] * stride_qkv + column[None, :], mask=mask, other=0.0)
    q = raw.to(tl.float32)
    q *= tl.rsqrt(tl.sum(q * q, axis=1) / per_head + eps)[:, None]
    q = q.to(raw.dtype)
    top = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_M,), tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    low = tl.load(rows + first) // rows_per_sample
    high = tl.load(rows + tl.minimum(first + BLOCK_M, end) - 1) // rows_per_sample
    for visited in range(low.to(tl.int32), high.to(tl.int32) + 1):
        mine, base = sample == visited, (low * 0 + visited) * num_keys  # int64
        for start in range(0, num_keys, BLOCK_T):
            in_t = start + t < num_keys
            place = pooled + (base + start + t)[None, :] * stride_pooled + column[:, None]
            k = tl.load(place, mask=in_d[:, None] & in_t[None, :], other=0.0)
            scores = product(q, k, tl.zeros((BLOCK_M, BLOCK_T), tl.float32), UPCAST) * scale
            scores = tl.where(in_t[None, :], scores, float("-inf"))
            peak = tl.maximum(top, tl.max(scores, axis=1))
            weights = tl.exp(scores - peak[:, None])
            fade = tl.where(mine, tl.exp(top - peak), 1.0)
            weights = tl.where(mine[:, None], weights, 0.0)
            place = pooled + (base + start + t)[:, None] * stride_pooled + column[None, :]
            v = tl.load(place + channels, mask=in_t[:, None] & in_d[None, :], other=0.0)
            total = total * fade + tl.sum(weights, axis=1)
            added = product(weights.to(v.dtype), v, acc * fade[:, None], UPCAST)
            acc = tl.where(mine[:, None], added, acc)  # another sample's infinities stay there
            top = tl.where(mine, peak, top)
    acc = acc / tl.where(valid, total, 1.0)[:, None]
    tl.store(out + row[:, None] * stride_out + column[None, :], acc, mask=mask)
