"""The search over static schedules of widths and steps, on the validation split.

A local one (DDSM searches widths per step, BudCache steps to skip; here a step's width may be 0,
which keeps the last D): the best fixed width first, then single changes and exchanges between two
steps that stay under the ceiling, kept when they help.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement, product

import numpy as np

from nitrogen.model.config import NUM_WIDTHS
from nitrogen.pipelines.bench.ceilings import Ceiling
from nitrogen.pipelines.bench.relays import Place, all_places, strides_at
from nitrogen.pipelines.bench.settings import relay_method, schedule_method
from nitrogen.pipelines.bench.tuning import Tried, Tuning, most_saved, too_dear


def tried_schedules(tuning: Tuning, tier: str, seed: int = 0) -> list[Tried]:
    """What was looked at for a tier, all of it under the tier's ceiling."""
    limit, full_model = tuning.ceiling(tier), tuning.full_model
    price, most = limit.prices(), limit.forwards
    starts = [richest(price, n, part.forwards) for n in tuning.num_steps for part in limit.parts()]
    tried = {tuple(start) for start in starts if start is not None}
    if not tried:
        raise too_dear(tuning, tier)
    found = [tuning.look(schedule_method(start, tier)) for start in sorted(tried)]
    relays = [
        tuning.look(relay_method(widths, tier, place))
        for place in all_places(tuning.models)
        for widths in relayed(tuning, limit, place)
    ]
    best = most_saved(found, full_model, limit)
    generator = np.random.default_rng(seed)
    moves = neighbours(best.method.setting["widths"], price, most, generator)
    for _ in range(tuning.num_moves):
        within = (w for w in moves if price[w].sum() > limit.least)  # what saves most is there
        candidate = next((w for w in within if tuple(w) not in tried), None)
        if candidate is None:
            break
        tried.add(tuple(candidate))
        found.append(tuning.look(schedule_method(candidate, tier)))
        if most_saved([best, found[-1]], full_model, limit) is not best:
            best = found[-1]
            moves = neighbours(candidate, price, most, generator)
    return [*found, *relays]


def relayed(tuning: Tuning, limit: Ceiling, place: Place = True) -> Iterator[list[int]]:
    """Every schedule of a relay's strides within the tier, of more than two those that never
    narrow: few enough to look at all of them."""
    price = limit.prices()
    for num_steps in tuning.num_steps:
        narrow = strides_at(tuning.models, num_steps, 1, place)
        count = narrow.count(1)
        every = product(range(NUM_WIDTHS + 1), repeat=count)
        rising = combinations_with_replacement(range(1, NUM_WIDTHS + 1), count)
        for strides in every if count <= 2 else rising:
            widths = [*strides, *narrow[count:]]
            if widths and strides[0] > 0 and limit.least < price[widths].sum() <= limit.forwards:
                yield widths


def richest(price: np.ndarray, num_steps: int, ceiling: float) -> list[int] | None:
    """The widest schedule of num_steps under the ceiling, wider at the later steps first."""
    widths = [1] * num_steps
    if price[widths].sum() > ceiling:
        return None
    for quarters in range(2, NUM_WIDTHS + 1):
        for step in reversed(range(num_steps)):
            wider = [*widths[:step], quarters, *widths[step + 1 :]]
            if price[wider].sum() <= ceiling:
                widths = wider
    return widths


def neighbours(
    widths: Sequence[int], price: np.ndarray, ceiling: float, generator: np.random.Generator
) -> Iterator[list[int]]:
    """Schedules one change or one exchange away that fit, in random order.

    A change sets one step's width; an exchange narrows one step and widens another; a step may
    also be left out, or be doubled at the price of others.
    """
    found: set[tuple[int, ...]] = set()
    steps, options = range(len(widths)), range(NUM_WIDTHS + 1)
    single = [_with(widths, {i: q}) for i in steps for q in options]
    double = [
        _with(widths, {i: widths[i] + up, j: widths[j] - down})
        for i in steps for j in steps if i != j for up in (1, 2) for down in (1, 2)
    ]  # fmt: skip
    shorter = [[*widths[:i], *widths[i + 1 :]] for i in steps]
    longer = [[*widths[:i], 1, *widths[i:]] for i in steps]
    for candidate in [*single, *double, *shorter, *longer]:
        inside = all(0 <= q <= NUM_WIDTHS for q in candidate) and len(candidate) > 1
        if inside and candidate[0] > 0 and price[candidate].sum() <= ceiling:
            found.add(tuple(candidate))
    found.discard(tuple(widths))
    ordered = sorted(found)
    generator.shuffle(ordered)
    yield from (list(candidate) for candidate in ordered)


def _with(widths: Sequence[int], changes: dict[int, int]) -> list[int]:
    return [changes.get(i, q) for i, q in enumerate(widths)]
