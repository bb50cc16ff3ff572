"""FLOPs, counted analytically; a multiply and an add are two.

Matrix products and convolutions are counted, as torch's FlopCounterMode does; norms, activations
and additions are not. Rows that only pad a block are not counted: they depend on batch mates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from nitrogen.kernels.attention import MAX_KEY_SIDE
from nitrogen.model.conditioning import NUM_FREQUENCIES
from nitrogen.model.config import NUM_WIDTHS, PRESETS, ArchConfig, preset
from nitrogen.model.regions import region_grid
from nitrogen.model.unet import count_parameters, modulation_sizes


@dataclass(frozen=True)
class CostModel:
    """FLOPs of one forward of one sample of height x width px."""

    arch: ArchConfig
    height: int
    width: int

    @cached_property
    def grid(self) -> tuple[int, int]:
        return region_grid(self.arch, self.height, self.width)

    @property
    def num_regions(self) -> int:
        return self.grid[0] * self.grid[1]

    def rows(self, level: int) -> int:
        """Rows of the whole picture at `level`."""
        side = self.arch.patch_size * 2**level
        return (self.height // side) * (self.width // side)

    def block_rows(self, quarters: int, caps: Sequence[int] | None = None) -> int:
        """FLOPs of every block on the rows of one region at this width; 0 when held.

        caps: widest quarters of each level, without a bound by default.
        """
        if quarters == 0:
            return 0
        total = 0
        for level, attends in self.arch.blocks():
            rows, c = self.rows(level) // self.num_regions, self.arch.channels[level]
            width = quarters if caps is None else min(quarters, caps[level])
            total += rows * 4 * c * self.arch.hidden(level, width)
            total += rows * 8 * c * c if attends else 0
        return total

    @cached_property
    def region_flops(self) -> Tensor:
        """[5] float64: FLOPs of one region at 0, 1, .. 4 quarters of the width, the most that they
        can be at any noise level: a plan that is made by them never costs more."""
        costs = [self.block_rows(quarters) for quarters in range(NUM_WIDTHS + 1)]
        return torch.tensor(costs, dtype=torch.float64)

    @cached_property
    def bounded_flops(self) -> Tensor:
        """[bins, 5] float64: the same under the bounds of each row of arch.layer_width."""
        costs = [
            [self.block_rows(quarters, caps) for quarters in range(NUM_WIDTHS + 1)]
            for _, caps in self.arch.layer_width
        ]
        return torch.tensor(costs, dtype=torch.float64)

    @cached_property
    def fixed_flops(self) -> int:
        """What one forward costs whatever the plan: conditioning, stem, head, resampling,
        depthwise convolutions, and the attention itself over the whole map."""
        arch, total = self.arch, self.conditioning_flops
        patch_channels = arch.image_channels * arch.patch_size**2
        total += 2 * 2 * self.rows(0) * patch_channels * arch.channels[0]
        for level, (fine, coarse) in enumerate(pairwise(arch.channels)):
            total += 2 * 2 * self.rows(level + 1) * fine * coarse
        for level, attends in arch.blocks():
            total += 18 * self.rows(level) * arch.channels[level]
            total += self.attention_flops(level) if attends else 0
        return total

    @property
    def conditioning_flops(self) -> int:
        """Embedding of (sigma, class), of the stride if there is one, and all modulations."""
        cond, sizes = self.arch.cond_channels, modulation_sizes(self.arch)
        fourier = 2 * NUM_FREQUENCIES * (2 if self.arch.strided else 1)
        return 2 * (fourier * cond + cond * cond + cond * sum(sizes))

    @cached_property
    def full_flops(self) -> int:
        """One forward of the full model, every region at full width."""
        return self.fixed_flops + self.num_regions * self.block_rows(NUM_WIDTHS)

    def step_shares(self) -> list[float]:
        """[5] of a full forward, everything at 0, 1, .. 4 quarters; nothing is run at 0."""
        flops = [self.fixed_flops + self.num_regions * self.block_rows(q) for q in range(1, 5)]
        return [0.0, *(one / self.full_flops for one in flops)]

    def attention_flops(self, level: int) -> int:
        """FLOPs of the attention of one block itself, over the whole map."""
        side = self.arch.patch_size * 2**level
        keys = min(self.height // side, MAX_KEY_SIDE) * min(self.width // side, MAX_KEY_SIDE)
        return 4 * self.rows(level) * keys * self.arch.channels[level]


def model_table(num_classes: int | None = None) -> list[dict[str, float | int | str]]:
    """One row a preset: name, image_size (px), params, gflops of a full forward.

    Networks are built on the meta device: no memory is taken.
    """
    rows: list[dict[str, float | int | str]] = []
    for name in PRESETS:
        arch = preset(name, **({} if num_classes is None else {"num_classes": num_classes}))
        cost = CostModel(arch, arch.image_size, arch.image_size)
        narrow = cost.fixed_flops + cost.num_regions * cost.block_rows(1)
        rows.append(
            {
                "name": name,
                "image_size": arch.image_size,
                "params": count_parameters(arch),
                "gflops": cost.full_flops / 1e9,
                "gflops_narrowest": narrow / 1e9,
            }
        )
    return rows
