"""Settings chosen on the validation split: a static schedule of widths and steps, and our budget.

Both are given the same ceilings, the time of some forwards of the full model, and the same seeds to
look at; both minimise the same error: the geometric mean of the squared distance to the teacher's
pictures in pixels and in features, for pixels alone prefer a blur. The search over schedules is a
local one (DDSM searches widths per step, BudCache steps to skip; here a step's width may be 0,
which keeps the last D): the best fixed width first, then single changes and exchanges between two
steps that stay under the ceiling, kept when they help.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.errors import BudgetError
from nitrogen.model.pipeline import to_uint8
from nitrogen.pipelines.bench.ceilings import Ceiling, ceiling
from nitrogen.pipelines.bench.methods import Method, runner
from nitrogen.pipelines.bench.models import Models
from nitrogen.pipelines.bench.quality import Extract, sample, squared_errors
from nitrogen.pipelines.bench.spacings import Spacings
from nitrogen.pipelines.bench.twins import by_rows
from nitrogen.pipelines.sampling import Draws
from nitrogen.platform.errors import ConfigError

SOLVER = "dpmpp_2m"
PRICES = (1e-14, 1e-6)  # mean squared error per FLOP; a region has 1e6 to 1e8 FLOPs
EXIT_THRESHOLDS = (0.0, 1e-4, 1e-3)
BISECTIONS = 9
SPENT = 0.98  # of the ceiling, by the mean picture: the hard bound cuts the others off


@dataclass(frozen=True)
class Tuning:
    """What a search looks at: validation seeds and the teacher's pictures of them.

    overhead: FLOPs that a step's fixed time would pay for; see ceilings.py.
    """

    models: Models
    drawn: Draws
    target: np.ndarray  # [n, h, w, c]
    extract: Extract
    overhead: float
    spacings: Spacings = field(default_factory=Spacings)  # of a student that is not strided
    num_steps: Sequence[int] = (3, 4, 5, 6, 7, 8, 10, 12, 14)
    num_moves: int = 80
    exit_thresholds: Sequence[float] = EXIT_THRESHOLDS
    num_priced: int = 2

    def error(self, method: Method) -> float:
        """What is minimised; 0 for the teacher's own pictures."""
        return self.look(method)[0]

    def look(self, method: Method) -> tuple[float, float]:
        """The error, and the mean FLOPs of a picture with those that its steps' time would pay."""
        method = self.spacings.of(method, self.models)
        method = by_rows(method) or method  # the faster of two that make the same pictures
        sampled = sample(runner(method, self.models), self.drawn)
        pixels = squared_errors(sampled.x_0, self.target).mean()
        features = np.square(self.extract(sampled.images) - self.features).mean()
        spent = sampled.flops + self.overhead * sampled.nfe
        return math.sqrt(float(pixels) * float(features)), float(spent.mean())

    @cached_property
    def features(self) -> np.ndarray:
        """[n, d] of the teacher's pictures."""
        return self.extract(to_uint8(torch.from_numpy(self.target)).numpy())

    def ceiling(self, tier: str) -> Ceiling:
        return ceiling(self.models, tier, self.overhead)

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
        share = tuning.ceiling(tier).share(num_steps)
        for threshold in tuning.exit_thresholds if share > 0 else ():
            for planner in tuning.planners():
                method = budget_method(num_steps, share, threshold, tier, **planner)
                try:
                    found.append((tuning.error(method), method))
                except BudgetError:  # too many steps for so little
                    continue
    if not found:
        raise too_dear(tuning, tier)
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
    s, most = method.setting, SPENT * tuning.ceiling(tier).flops
    low, high = PRICES
    for _ in range(BISECTIONS):
        middle = math.sqrt(low * high)
        tried = budget_method(s["num_steps"], s["budget"], s["threshold"], tier, price=middle)
        low, high = (middle, high) if tuning.look(tried)[1] > most else (low, middle)
    return budget_method(s["num_steps"], s["budget"], s["threshold"], tier, price=high)


def too_dear(tuning: Tuning, tier: str) -> ConfigError:
    """No number of steps fits: on this machine a step's fixed time takes it all."""
    return ConfigError(
        f"tune_steps must hold a number of steps that the {tier} ceiling pays for, the time of "
        f"{tuning.ceiling(tier).forwards:g} forwards, got {list(tuning.num_steps)}. Add fewer."
    )


def searched_schedule(tuning: Tuning, tier: str, seed: int = 0) -> Method:
    """The schedule of least validation error under the tier's ceiling."""
    limit = tuning.ceiling(tier)
    price, most = limit.prices(), limit.forwards
    starts = [widths for n in tuning.num_steps if (widths := richest(price, n, most)) is not None]
    if not starts:
        raise too_dear(tuning, tier)
    scored = [(tuning.error(schedule_method(w)), w) for w in starts]
    best, widths = min(scored, key=lambda pair: pair[0])
    generator = np.random.default_rng(seed)
    tried = {tuple(w) for w in starts}
    moves = neighbours(widths, price, most, generator)
    for _ in range(tuning.num_moves):
        candidate = next((w for w in moves if tuple(w) not in tried), None)
        if candidate is None:
            break
        tried.add(tuple(candidate))
        error = tuning.error(schedule_method(candidate))
        if error < best:
            best, widths = error, candidate
            moves = neighbours(widths, price, most, generator)
    return schedule_method(widths, tier)


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
