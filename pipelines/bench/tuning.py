"""Settings chosen on the validation split: a static schedule of widths and steps, and our budget.

Both are given the same ceilings, in forwards of the full model, and the same seeds to look at. The
search over schedules is a local one (DDSM searches widths per step, BudCache steps to skip; here a
step's width may be 0, which keeps the last D): the best fixed width first, then single changes and
exchanges between two steps that stay under the ceiling, kept when they help.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.cost import CostModel
from nitrogen.model.errors import BudgetError
from nitrogen.pipelines.bench.methods import Method
from nitrogen.pipelines.bench.models import Models
from nitrogen.pipelines.bench.quality import mean_error
from nitrogen.pipelines.bench.twins import by_rows
from nitrogen.pipelines.sampling import Draws

TIERS = {"low": 3.0, "middle": 5.0, "high": 8.0}  # forwards of the full model
SOLVER = "dpmpp_2m"
PRICES = (1e-14, 1e-6)  # mean squared error per FLOP; a region has 1e6 to 1e8 FLOPs
EXIT_THRESHOLDS = (0.0, 1e-4)
MAX_SHARE = 2.0  # that a request may ask for
BISECTIONS = 9
SPENT = 0.98  # of the ceiling, by the mean picture: the hard bound cuts the others off


@dataclass(frozen=True)
class Tuning:
    """What a search looks at: validation seeds and the teacher's pictures of them."""

    models: Models
    drawn: Draws
    target: np.ndarray  # [n, h, w, c]
    num_steps: Sequence[int] = (3, 4, 5, 6, 7, 8, 10, 12, 14)
    num_moves: int = 80
    exit_thresholds: Sequence[float] = EXIT_THRESHOLDS
    num_priced: int = 2

    def error(self, method: Method) -> float:
        method = by_rows(method) or method  # the faster of two that make the same pictures
        return mean_error(method, self.models, self.drawn, self.target)[0]

    def planners(self) -> list[dict[str, Any]]:
        """Equal shares for every step, and the library's own where the student has prices."""
        priced = self.models.student.prices is not None
        return [{}, {"served": True}] if priced else [{}]


def schedule_method(widths: Sequence[int], tier: str | None = None) -> Method:
    """The student by one width a step."""
    name = f"schedule {tier}" if tier else f"width {widths[0]}/4, {len(widths)} steps"
    setting = {
        "model": "student", "solver": SOLVER, "num_steps": len(widths), "widths": list(widths),
    }  # fmt: skip
    return Method(name, "static", "schedule", setting | ({"tier": tier} if tier else {}))


def budget_method(
    num_steps: int, budget: float, threshold: float = 0.0, tier: str | None = None, **planner: Any
) -> Method:
    """Ours under a budget, a share of num_steps forwards.

    planner: served=True for what the library does, price=... for a price of our own, nothing for
    equal shares; see methods.named_policy.
    """
    name = f"ours {tier}" if tier else f"ours budget {budget:.2f}, {num_steps} steps"
    setting = {
        "policy": "budget", "budget": round(budget, 4), "threshold": threshold,
        "num_steps": num_steps, "solver": SOLVER,
    }  # fmt: skip
    return Method(name, "ours", "policy", setting | ({"tier": tier} if tier else {}) | planner)


def served(tuned: Method) -> Method:
    """The same budget, steps and threshold as a user of the library gets them."""
    s = tuned.setting
    method = budget_method(s["num_steps"], s["budget"], s["threshold"], served=True)
    return replace(method, name=f"{tuned.name} as served")


def tuned_budget(tuning: Tuning, tier: str) -> Method:
    """The steps, the exit threshold and the planner of least validation error under the tier's
    ceiling: equal shares for every step, the student's own prices, or a price; see `priced`."""
    found: list[tuple[float, Method]] = []
    for num_steps in tuning.num_steps:
        share = budget_share(tuning.models, TIERS[tier], num_steps)
        for threshold in tuning.exit_thresholds:
            for planner in tuning.planners():
                method = budget_method(num_steps, share, threshold, tier, **planner)
                try:
                    found.append((tuning.error(method), method))
                except BudgetError:  # too many steps for so little
                    continue
    found.sort(key=lambda pair: pair[0])
    # A price for the best few settings: finding one takes as many runs as all of the above.
    settings = {(m.setting["num_steps"], m.setting["threshold"]): m for _, m in reversed(found)}
    best_first = sorted(settings.values(), key=[m for _, m in found].index)
    for method in best_first[: tuning.num_priced]:
        other = priced(tuning, method, tier)
        found.append((tuning.error(other), other))
    return min(found, key=lambda pair: pair[0])[1]


def priced(tuning: Tuning, method: Method, tier: str) -> Method:
    """The same setting at the price at which the mean validation picture spends its ceiling.

    Found by bisection of the logarithm: the higher the price, the less is bought.
    """
    s = method.setting
    ceiling = s["budget"] * s["num_steps"] * tuning.models.cost_of("student").full_flops
    low, high = PRICES
    for _ in range(BISECTIONS):
        middle = math.sqrt(low * high)
        tried = budget_method(s["num_steps"], s["budget"], s["threshold"], tier, price=middle)
        _, flops = mean_error(tried, tuning.models, tuning.drawn, tuning.target)
        low, high = (middle, high) if flops > SPENT * ceiling else (low, middle)
    return budget_method(s["num_steps"], s["budget"], s["threshold"], tier, price=high)


def budget_share(models: Models, ceiling: float, num_steps: int) -> float:
    """A ceiling in forwards of the teacher, as the share of the student's num_steps that requests
    are charged by; rounded down, so that a rounding never spends more. Above 1 where the ceiling
    leaves room for the predictor beside everything at full width."""
    ratio = models.cost.full_flops / models.cost_of("student").full_flops
    return min(MAX_SHARE, math.floor(1e4 * ceiling * ratio / num_steps) / 1e4)


def searched_schedule(tuning: Tuning, tier: str, seed: int = 0) -> Method:
    """The schedule of least validation error under the tier's ceiling."""
    price = step_prices(tuning.models)
    starts = [
        widths for n in tuning.num_steps if (widths := richest(price, n, TIERS[tier])) is not None
    ]
    scored = [(tuning.error(schedule_method(w)), w) for w in starts]
    best, widths = min(scored, key=lambda pair: pair[0])
    generator = np.random.default_rng(seed)
    tried = {tuple(w) for w in starts}
    moves = neighbours(widths, price, TIERS[tier], generator)
    for _ in range(tuning.num_moves):
        candidate = next((w for w in moves if tuple(w) not in tried), None)
        if candidate is None:
            break
        tried.add(tuple(candidate))
        error = tuning.error(schedule_method(candidate))
        if error < best:
            best, widths = error, candidate
            moves = neighbours(widths, price, TIERS[tier], generator)
    return schedule_method(widths, tier)


def step_prices(models: Models) -> np.ndarray:
    """[5] forwards of the full model that a step costs at 0, 1, .. 4 quarters."""
    return prices_in(models.cost_of("student"), models.cost.full_flops)


def prices_in(cost: CostModel, forward: float) -> np.ndarray:
    """[5] what a step costs at 0, 1, .. 4 quarters, in units of `forward` FLOPs."""
    flops = cost.fixed_flops + cost.num_regions * cost.region_flops.numpy()
    flops[0] = 0.0
    return flops / forward


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
