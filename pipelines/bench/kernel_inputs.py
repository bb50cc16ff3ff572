"""Arguments of the operators at the shapes that `bench kernels` times."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nitrogen.kernels.plan import NUM_WIDTHS

OVER_MAPS = (  # operators whose arguments are maps and rows; row_mlp has a table of its own
    "norm_modulate", "depthwise", "gated_add", "row_linear", "row_qkv", "row_attention",
)  # fmt: skip
PICTURES = ("region_stats", "ode_exit", "plan_rows")  # whose arguments are pictures and regions
REGION_PX, PATCH_PX = 8, 2


def map_arguments(
    name: str, c: int, b: int, side: int, share: float, device: str
) -> tuple[Any, ...]:
    """Arguments of one operator at this shape; buffers hold zeros."""
    draw, m = Drawn(device), b * side * side
    rows = draw.row_set(m, share, NUM_WIDTHS)
    x, shift, scale = draw(m, c), draw(b, c), draw(b, c)
    zeros = lambda e: torch.zeros(m, e, device=device)  # noqa: E731
    return {
        "norm_modulate": lambda: (x, shift, scale, *rows, side * side),
        "depthwise": lambda: (x.view(b, side, side, c), draw(c, 1, 3, 3), shift, scale, *rows),
        "gated_add": lambda: (x, shift, draw(m, c), side * side),
        "row_linear": lambda: (x, draw(c, c, spread=c**-0.5), draw(c), *rows, zeros(c)),
        "row_qkv": lambda: (
            x, shift, scale, draw(3 * c, c, spread=c**-0.5), *rows, side * side, zeros(3 * c),
        ),
        "row_attention": lambda: (draw(b, side, side, 3 * c), *rows, c // 32),
    }[name]()  # fmt: skip


def picture_arguments(name: str, b: int, px: int, device: str) -> tuple[Any, ...]:
    """Arguments of one operator on b pictures of px x px; half of the regions are held."""
    draw, grid, side = Drawn(device), px // REGION_PX, px // PATCH_PX
    picture = (b, px, px, 3)
    held = (torch.arange(b * grid * grid, device=device) % 2 == 0).view(b, grid, grid)
    sigmas = [torch.full((b,), value, device=device) for value in (2.0, 1.5, 3.0)]
    return {
        "region_stats": lambda: (draw(*picture), draw(*picture), grid, grid),
        "ode_exit": lambda: (draw(*picture), draw(*picture), draw(*picture), *sigmas, held),
        "plan_rows": lambda: (
            NUM_WIDTHS * held, torch.full((b,), NUM_WIDTHS, device=device), side, side,
        ),
    }[name]()  # fmt: skip


class Drawn:
    """Random tensors and row sets, the same in every run."""

    def __init__(self, device: str):
        self.device, self.generator = device, torch.Generator().manual_seed(0)

    def __call__(self, *shape: int, spread: float = 1.0) -> Tensor:
        return (torch.randn(*shape, generator=self.generator) * spread).to(self.device)

    def row_set(self, m: int, share: float, width: int) -> tuple[Tensor, Tensor]:
        """round(share * m) random rows at `width` quarters, the others held."""
        num = round(m * share)
        order = torch.randperm(m, generator=self.generator)
        rows = torch.cat([order[:num].sort().values, order[num:].sort().values])
        counts = torch.zeros(NUM_WIDTHS + 1, dtype=torch.int64)
        counts[0], counts[width] = m - num, num
        return rows.to(self.device), counts.to(self.device)
