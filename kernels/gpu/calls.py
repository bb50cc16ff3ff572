"""Arguments of every operator at a shape of the cost model: what a benchmark calls."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nitrogen.kernels.counts import Shape
from nitrogen.kernels.plan import NUM_WIDTHS

WRITES = ("row_mlp", "row_linear", "row_qkv")  # the last argument is a buffer
REGION_PX, PER_HEAD = 8, 64


def row_set(shape: Shape, device: str) -> tuple[Tensor, Tensor]:
    """The first rows of the map at one width, ascending, the others held: (rows, counts)."""
    counts = torch.zeros(NUM_WIDTHS + 1, dtype=torch.int64)
    counts[0], counts[round(NUM_WIDTHS * shape.width)] = shape.rows - shape.computed, shape.computed
    # Every other row, not the first half: regions are scattered over a map.
    order = torch.randperm(shape.rows, generator=torch.Generator().manual_seed(0))
    active, held = order[: shape.computed].sort().values, order[shape.computed :].sort().values
    return torch.cat([active, held]).to(device), counts.to(device)


def arguments(shape: Shape, dtype: torch.dtype, device: str) -> tuple[Any, ...]:
    """What the operator takes, random, on the device."""
    generator = torch.Generator(device).manual_seed(0)

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, device=device).to(dtype)

    def weight(e: int, c: int) -> Tensor:
        return draw(e, c) / c**0.5

    return ARGUMENTS[shape.op](shape, draw, weight, row_set(shape, device), device)


Draw = Callable[..., Tensor]


def row_mlp(s: Shape, draw: Draw, weight: Draw, rows: Any, _: str) -> tuple[Any, ...]:
    c, e = s.channels, s.ratio * s.channels
    weights = weight(e, c), draw(e), weight(c, e), draw(c)
    return draw(s.rows, c), *weights, *rows, e // NUM_WIDTHS, draw(s.rows, c)


def row_linear(s: Shape, draw: Draw, weight: Draw, rows: Any, _: str) -> tuple[Any, ...]:
    c = s.channels
    return draw(s.rows, c), weight(c, c), draw(c), *rows, draw(s.rows, c)


def row_qkv(s: Shape, draw: Draw, weight: Draw, rows: Any, _: str) -> tuple[Any, ...]:
    c = s.channels
    modulation = draw(s.b, c), draw(s.b, c)
    return (
        draw(s.rows, c), *modulation, weight(3 * c, c), *rows, s.side * s.side, draw(s.rows, 3 * c)
    )  # fmt: skip


def row_attention(s: Shape, draw: Draw, weight: Draw, rows: Any, _: str) -> tuple[Any, ...]:
    heads = max(1, s.channels // PER_HEAD)
    return draw(s.b, s.side, s.side, 3 * s.channels), *rows, heads


def norm_modulate(s: Shape, draw: Draw, weight: Draw, rows: Any, _: str) -> tuple[Any, ...]:
    c = s.channels
    return draw(s.rows, c), draw(s.b, c), draw(s.b, c), *rows, s.side * s.side, 1e-6


def depthwise(s: Shape, draw: Draw, weight: Draw, rows: Any, _: str) -> tuple[Any, ...]:
    c = s.channels
    return draw(s.b, s.side, s.side, c), draw(c, 1, 3, 3), draw(s.b, c), draw(s.b, c), *rows


def gated_add(s: Shape, draw: Draw, weight: Draw, rows: Any, _: str) -> tuple[Any, ...]:
    c = s.channels
    return draw(s.rows, c), draw(s.b, c), draw(s.rows, c), s.side * s.side


def region_stats(s: Shape, draw: Draw, weight: Draw, rows: Any, _: str) -> tuple[Any, ...]:
    grid, size = s.side // REGION_PX, (s.b, s.side, s.side, s.channels)
    return draw(*size), draw(*size), grid, grid


def ode_exit(s: Shape, draw: Draw, weight: Draw, rows: Any, device: str) -> tuple[Any, ...]:
    size, grid = (s.b, s.side, s.side, s.channels), s.side // REGION_PX
    sigmas = [torch.full((s.b,), value, device=device) for value in (2.0, 1.5, 3.0)]
    held = torch.arange(s.b * grid * grid, device=device).view(s.b, grid, grid) % 2 == 0
    return draw(*size), draw(*size), draw(*size), *sigmas, held


def plan_rows(s: Shape, draw: Draw, weight: Draw, rows: Any, device: str) -> tuple[Any, ...]:
    grid = max(1, s.side // 4)
    widths = torch.arange(s.b * grid * grid, device=device).view(s.b, grid, grid) % 5
    return widths, torch.full((s.b,), NUM_WIDTHS, device=device), s.side, s.side


ARGUMENTS: dict[str, Callable[..., tuple[Any, ...]]] = {
    "row_mlp": row_mlp,
    "row_linear": row_linear,
    "row_qkv": row_qkv,
    "row_attention": row_attention,
    "norm_modulate": norm_modulate,
    "depthwise": depthwise,
    "gated_add": gated_add,
    "region_stats": region_stats,
    "ode_exit": ode_exit,
    "plan_rows": plan_rows,
}
