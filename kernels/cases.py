"""Arguments that every kernel must get right: odd sizes, every width, empty and full row sets."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nitrogen.kernels.plan import NUM_WIDTHS, plan_rows

MAPS = ((1, 1, 1), (3, 3, 7), (4, 5, 5), (2, 25, 40))  # b, h, w: 1, 63, 100 and 2,000 rows
CHANNELS = (84, 64)  # several vectors, one and a tail behind the last whole one; several alone
PLANS = ("full", "empty", "width 1", "width 2", "width 3", "mixed")
NAN = float("nan")


@dataclass(frozen=True)
class Case:
    label: str
    args: tuple[Any, ...]


class Draw:
    """Random tensors of one case, the same on every machine."""

    def __init__(self, dtype: torch.dtype, device: str):
        self.dtype, self.device = dtype, device
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, *shape: int, spread: float = 1.0) -> Tensor:
        drawn = torch.randn(*shape, generator=self.generator) * spread
        return drawn.to(self.device, self.dtype)

    def row_set(self, plan: str, b: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        """One width a row, so that neighbours differ."""
        quarters = torch.full((b, height, width), NUM_WIDTHS)
        if plan == "mixed":
            quarters = torch.randint(0, 5, (b, height, width), generator=self.generator)
        elif plan != "full":
            quarters.fill_(0 if plan == "empty" else int(plan.split()[1]))
        rows, counts = plan_rows(quarters, torch.full((b,), NUM_WIDTHS), height, width)
        return rows.to(self.device), counts.to(self.device)


Arguments = Callable[[Draw, tuple[int, int, int], int, tuple[Tensor, Tensor]], tuple[Any, ...]]


def over_row_sets(
    arguments: Arguments, channels: tuple[int, ...] = CHANNELS
) -> Callable[[torch.dtype, str], Iterator[Case]]:
    """Cases of an operator over rows: every map, and for each every plan (the largest: two)."""

    def cases(dtype: torch.dtype, device: str) -> Iterator[Case]:
        draw = Draw(dtype, device)
        for shape in MAPS:
            for plan in PLANS if shape != MAPS[-1] else ("full", "mixed"):
                c = channels[PLANS.index(plan) % len(channels)]
                num_rows = shape[0] * shape[1] * shape[2]
                row_set = draw.row_set(plan, *shape)
                yield Case(f"{num_rows} rows, {c} channels, {plan}", arguments(
                    draw, shape, c, row_set
                ))  # fmt: skip

    return cases


def norm_modulate(draw: Draw, shape: Any, c: int, row_set: Any) -> tuple[Any, ...]:
    b, h, w = shape
    return draw(b * h * w, c), draw(b, c), draw(b, c), *row_set, h * w


def depthwise(draw: Draw, shape: Any, c: int, row_set: Any) -> tuple[Any, ...]:
    return (
        draw(*shape, c), draw(c, 1, 3, 3, spread=0.3), draw(shape[0], c), draw(shape[0], c),
        *row_set,
    )  # fmt: skip


def depthwise_cases(dtype: torch.dtype, device: str) -> Iterator[Case]:
    """Pictures, then volumes: a third axis with taps along it, and one without."""
    yield from over_row_sets(depthwise)(dtype, device)
    draw, (b, depth, height, width) = Draw(dtype, device), (2, 3, 4, 5)
    for deep, c in ((3, 20), (1, 64)):
        for plan in ("full", "mixed"):
            row_set = draw.row_set(plan, b, depth * height, width)
            x, weight = draw(b, depth, height, width, c), draw(c, 1, deep, 3, 3, spread=0.3)
            label = f"120 rows of volumes, {deep} taps deep, {c} channels, {plan}"
            yield Case(label, (x, weight, draw(b, c), draw(b, c), *row_set))


def row_mlp(draw: Draw, shape: Any, c: int, row_set: Any) -> tuple[Any, ...]:
    """Hidden units 60 and 384: less than a panel a quarter, and more than one block of them."""
    num_rows, quarter = shape[0] * shape[1] * shape[2], 15 if c < 64 else 96
    hidden = quarter * NUM_WIDTHS
    weights = (
        draw(hidden, c, spread=c**-0.5), draw(hidden),
        draw(c, hidden, spread=hidden**-0.5), draw(c),
    )  # fmt: skip
    return draw(num_rows, c), *weights, *row_set, quarter, poisoned(draw, num_rows, c)


def gated_add(draw: Draw, shape: Any, c: int, row_set: Any) -> tuple[Any, ...]:
    b, h, w = shape
    return draw(b * h * w, c), draw(b, c), draw(b * h * w, c), h * w


def row_linear(draw: Draw, shape: Any, c: int, row_set: Any) -> tuple[Any, ...]:
    num_rows, features = shape[0] * shape[1] * shape[2], 12 if c < 64 else 3 * c
    bias = draw(features) if c < 64 else None
    weight = draw(features, c, spread=c**-0.5)
    return draw(num_rows, c), weight, bias, *row_set, poisoned(draw, num_rows, features)


def row_qkv(draw: Draw, shape: Any, c: int, row_set: Any) -> tuple[Any, ...]:
    b, h, w = shape
    weight = draw(3 * c, c, spread=c**-0.5)
    return (
        draw(b * h * w, c), draw(b, c), draw(b, c), weight, *row_set, h * w,
        poisoned(draw, b * h * w, 3 * c),
    )  # fmt: skip


def row_attention(draw: Draw, shape: Any, c: int, row_set: Any) -> tuple[Any, ...]:
    return draw(*shape, 3 * c), *row_set, 2


def poisoned(draw: Draw, *shape: int) -> Tensor:
    """A buffer of NaN: a row that is written must be written whole, others must stay."""
    return torch.full(shape, NAN, device=draw.device, dtype=draw.dtype)


def plan_rows_cases(dtype: torch.dtype, device: str) -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)
    for b, rh, rw, scale in ((1, 1, 1, 1), (3, 2, 3, 2), (5, 4, 4, 4), (2, 3, 1, 1)):
        widths = torch.randint(0, 5, (b, rh, rw), generator=generator).to(device)
        caps = torch.randint(1, 5, (b,), generator=generator).to(device)
        yield Case(f"{b} x {rh} x {rw}", (widths, caps, rh * scale, rw * scale))


def region_stats_cases(dtype: torch.dtype, device: str) -> Iterator[Case]:
    draw = Draw(dtype, device)
    for b, h, w, rh, rw in ((1, 8, 8, 1, 1), (3, 16, 24, 2, 3), (2, 64, 32, 8, 4)):
        args = (draw(b, h, w, 3), draw(b, h, w, 3), rh, rw)
        yield Case(f"{b} x {h} x {w}", args)


def ode_exit_cases(dtype: torch.dtype, device: str) -> Iterator[Case]:
    """Samples at several sigmas: a first step, a last one, and two between."""
    draw, shape = Draw(dtype, device), (4, 16, 24, 3)
    sigma = torch.tensor([80.0, 3.0, 0.5, 0.02], device=device)
    sigma_next = torch.tensor([40.0, 2.0, 0.3, 0.0], device=device)
    sigma_last = torch.tensor([NAN, 5.0, 0.9, 0.05], device=device)
    held = torch.rand(4, 2, 3, generator=draw.generator).to(device) < 0.5
    for label, mask in (("mixed", held), ("none", held & ~held), ("all", held | ~held)):
        args = (draw(*shape), draw(*shape), draw(*shape), sigma, sigma_next, sigma_last, mask)
        yield Case(f"held: {label}", args)


CASES: dict[str, Callable[[torch.dtype, str], Iterator[Case]]] = {
    "plan_rows": plan_rows_cases,
    "norm_modulate": over_row_sets(norm_modulate),
    "depthwise": depthwise_cases,
    "row_mlp": over_row_sets(row_mlp),
    "gated_add": over_row_sets(gated_add),
    "row_linear": over_row_sets(row_linear),
    "row_qkv": over_row_sets(row_qkv),
    "row_attention": over_row_sets(row_attention, (32, 48)),
    "region_stats": region_stats_cases,
    "ode_exit": ode_exit_cases,
}
