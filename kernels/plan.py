"""Row sets: which rows of one level are computed at one step, and at which width.

Everything stays on the device and nothing has a shape that depends on data: `rows` is always a
permutation of all rows, and `counts` says how much of it is active.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

NUM_WIDTHS = 4  # nested slices of the hidden width: 1/4, 2/4, 3/4, 4/4


@dataclass(frozen=True)
class RowSet:
    """rows: [m] int64, all rows: at 1/4 first, then 1/2, 3/4, 1, held rows last, ascending inside
    each group. counts: [5] int64, rows at q quarters; counts[0] are held."""

    rows: Tensor
    counts: Tensor


def plan_rows(widths: Tensor, caps: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """widths: [b, rh, rw] int64 quarters of each region, caps: [b] int64 of each sample.

    Returns rows [b * height * width] and counts [5] of a map of height x width.
    """
    quarters = torch.minimum(widths, caps[:, None, None])
    quarters = quarters.repeat_interleave(height // widths.shape[1], 1)
    flat = quarters.repeat_interleave(width // widths.shape[2], 2).flatten()
    held_last = torch.where(flat == 0, NUM_WIDTHS + 1, flat)
    every_width = torch.arange(NUM_WIDTHS + 1, device=flat.device)
    return held_last.argsort(stable=True), (flat[:, None] == every_width).sum(dim=0)


def every_row(num_rows: int, device: torch.device) -> RowSet:
    """All rows at full width, in order."""
    counts = torch.zeros(NUM_WIDTHS + 1, dtype=torch.int64, device=device)
    counts[NUM_WIDTHS] = num_rows
    return RowSet(torch.arange(num_rows, device=device), counts)


def active_rows(rows: Tensor, counts: Tensor) -> Tensor:
    """[n] rows at any width. Reads `counts`: a synchronisation on a GPU."""
    return rows[: rows.shape[0] - int(counts[0])]


def width_groups(rows: Tensor, counts: Tensor) -> list[tuple[int, Tensor]]:
    """(quarters, [n] rows) of each width in use, narrow first. Reads `counts`."""
    sizes = counts.tolist()[1:]
    parts = rows[: sum(sizes)].split(sizes)
    return [(q, part) for q, part in enumerate(parts, start=1) if part.shape[0]]
