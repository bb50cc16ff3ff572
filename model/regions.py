"""Regions, and the plan that says at which width each of them is computed at one step."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from nitrogen.kernels.dispatch import plan_rows
from nitrogen.kernels.plan import RowSet
from nitrogen.model.config import NUM_WIDTHS, ArchConfig
from nitrogen.model.errors import ShapeError

HELD = 0


@dataclass(frozen=True)
class Plan:
    """What is computed at one step, for every sample of a batch.

    widths: [b, rh, rw] int64, quarters of the hidden width per region, 0 = held.
    level_caps: [b, levels] int64, the widest any block of a level runs at, or None for no cap.
    """

    widths: Tensor
    level_caps: Tensor | None = None

    def at_level(self, level: int, height: int, width: int) -> RowSet:
        """The rows of `level`, a map of height x width, by the width each of them runs at."""
        if self.level_caps is None:
            caps = self.widths.new_full((self.widths.shape[0],), NUM_WIDTHS)
        else:
            caps = self.level_caps[:, level]
        return plan_rows(self.widths, caps, height, width)

    def select(self, samples: Tensor) -> "Plan":
        """The plan of some samples of the batch; samples: [k] int64."""
        caps = None if self.level_caps is None else self.level_caps[samples]
        return Plan(self.widths[samples], caps)


def sigma_bin(arch: ArchConfig, sigma: Tensor) -> Tensor:
    """[b] int64: the row of arch.layer_width that holds at each sigma. sigma: [b]."""
    place = torch.zeros_like(sigma, dtype=torch.int64)
    for lowest, _ in arch.layer_width[:-1]:
        place = place + (sigma < lowest)
    return place


def level_caps(arch: ArchConfig, sigma: Tensor) -> Tensor | None:
    """[b, levels] int64: the widest that each level runs at, or None without bounds. sigma: [b]."""
    if not arch.layer_width:
        return None
    caps = torch.tensor([caps for _, caps in arch.layer_width])
    return caps.to(sigma.device, non_blocking=True)[sigma_bin(arch, sigma)]


def widths_run(arch: ArchConfig, widths: Tensor, sigma: Tensor) -> Tensor:
    """[b, rh, rw, levels] int64: the quarters that each level runs at of what a plan says.

    widths: [b, rh, rw]; sigma: [b].
    """
    planned = widths[..., None].expand(*widths.shape, arch.num_levels)
    caps = level_caps(arch, sigma)
    return planned if caps is None else torch.minimum(planned, caps[:, None, None])


def full_plan(
    num_samples: int,
    grid: tuple[int, int],
    num_levels: int,
    quarters: int = NUM_WIDTHS,
    device: torch.device | str = "cpu",
) -> Plan:
    """Every region of every sample at full width, or at another one; at every level, whatever
    arch.layer_width bounds."""
    widths = torch.full((num_samples, *grid), quarters, dtype=torch.int64, device=device)
    return Plan(widths, widths.new_full((num_samples, num_levels), NUM_WIDTHS))


def region_grid(arch: ArchConfig, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of regions of a picture of height x width px.

    Raises ShapeError if a side is not a multiple of the region.
    """
    side = arch.region_px
    if height % side or width % side or height < side or width < side:
        raise ShapeError(
            f"image_size must be a multiple of {side} px for this model, got {height}x{width}."
        )
    return height // side, width // side


def pool_to_regions(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Mean over each region. x: [b, h, w, c] -> [b, rh, rw, c]."""
    window = (x.shape[1] // grid[0], x.shape[2] // grid[1])
    return F.avg_pool2d(x.permute(0, 3, 1, 2), window).permute(0, 2, 3, 1)


def region_mse(a: Tensor, b: Tensor, grid: tuple[int, int]) -> Tensor:
    """Mean squared difference within each region. a, b: [b, h, w, c] -> [b, rh, rw]."""
    return pool_to_regions((a - b).square(), grid).mean(-1)


def spread_to_pixels(values: Tensor, height: int, width: int) -> Tensor:
    """values: [b, rh, rw] -> [b, height, width, 1], each region's value at each of its pixels."""
    b, rh, rw = values.shape
    scale_y, scale_x = height // rh, width // rw
    spread = values[:, :, None, :, None].expand(b, rh, scale_y, rw, scale_x)
    return spread.reshape(b, height, width, 1)
