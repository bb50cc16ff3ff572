"""From the widths of regions to the sorted rows of a level, without leaving the device.

A stable counting sort: how many rows of each width every block has, where each block's share
begins, then every row to its place. Ascending inside a group, hence the same on every run.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from nitrogen.kernels.gpu.launch import launch
from nitrogen.kernels.gpu.tuning import choose

NUM_GROUPS = 5  # quarters 1 to 4, then held


def plan_rows(widths: Tensor, caps: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """widths [b, rh, rw] int64, caps [b] int64, both in quarters -> rows [b * height * width]
    int64, a permutation: those at 1/4 first, then 1/2, 3/4, 1, held ones last; counts [5] int64,
    rows at each number of quarters."""
    widths, caps = widths.contiguous(), caps.contiguous()
    b, rh, rw = widths.shape
    num_rows, device = b * height * width, widths.device
    config = choose("plan_rows", torch.int64, 1)
    num_blocks = triton.cdiv(num_rows, config.blocks["BLOCK"])
    starts = torch.empty(NUM_GROUPS * num_blocks, dtype=torch.int64, device=device)
    rows = torch.empty(num_rows, dtype=torch.int64, device=device)
    counts = torch.empty(NUM_GROUPS, dtype=torch.int64, device=device)
    plan = dict(
        widths=widths, caps=caps, num_rows=num_rows, height=height, width=width, rh=rh, rw=rw
    )
    launch(count_rows_kernel, (num_blocks,), config, starts=starts, num_blocks=num_blocks, **plan)
    launch(scan_rows_kernel, (1,), config, starts=starts, counts=counts, num_blocks=num_blocks)
    launch(
        place_rows_kernel, (num_blocks,), config, starts=starts, rows=rows, num_blocks=num_blocks,
        **plan,
    )  # fmt: skip
    return rows, counts


@triton.jit
def group_of(row, widths, caps, num_rows, height, width, rh, rw):
    """0 to 3 for 1 to 4 quarters, 4 for a held row, -1 beyond the last row."""
    valid = row < num_rows
    sample = row // width // height
    i, j = row // width % height // (height // rh), row % width // (width // rw)
    quarters = tl.load(widths + (sample * rh + i) * rw + j, mask=valid, other=0)
    quarters = tl.minimum(quarters, tl.load(caps + sample, mask=valid, other=0)).to(tl.int32)
    return tl.where(valid, tl.where(quarters == 0, 4, quarters - 1), -1)


@triton.jit
def count_rows_kernel(
    widths, caps, starts, num_blocks, num_rows, height, width, rh, rw, BLOCK: tl.constexpr
):
    """starts[group, block]: rows of that group among the block's."""
    block = tl.program_id(0).to(tl.int64)
    row = block * BLOCK + tl.arange(0, BLOCK)
    group = group_of(row, widths, caps, num_rows, height, width, rh, rw)
    for g in tl.static_range(5):
        tl.store(starts + g * num_blocks + block, tl.sum((group == g).to(tl.int32)).to(tl.int64))


@triton.jit
def scan_rows_kernel(starts, counts, num_blocks, BLOCK: tl.constexpr):
    """Turns counts into starts, group after group, in one program; and the totals."""
    before = tl.zeros((), tl.int64)
    for g in tl.static_range(5):
        begin = before
        for start in range(0, num_blocks, BLOCK):
            block = start + tl.arange(0, BLOCK)
            place = starts + g * num_blocks + block
            number = tl.load(place, mask=block < num_blocks, other=0)
            until = tl.cumsum(number, 0)
            tl.store(place, before + until - number, mask=block < num_blocks)
            before += tl.sum(number)
        tl.store(counts + (g + 1) % 5, before - begin)


@triton.jit
def place_rows_kernel(
    widths, caps, starts, rows, num_blocks, num_rows, height, width, rh, rw, BLOCK: tl.constexpr
):
    """Each row behind those of its group that came before it."""
    block = tl.program_id(0).to(tl.int64)
    row = block * BLOCK + tl.arange(0, BLOCK)
    group = group_of(row, widths, caps, num_rows, height, width, rh, rw)
    for g in tl.static_range(5):
        mine = group == g
        rank = tl.cumsum(mine.to(tl.int32), 0) - 1
        tl.store(rows + tl.load(starts + g * num_blocks + block) + rank, row, mask=mine)
