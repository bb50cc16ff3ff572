"""What a search on the validation split minimises, and our budget under each ceiling.

Ours and the static schedules (schedule_search.py) are given the same ceilings, the time of some
forwards of the full model, and the same seeds to look at; both minimise the same error: the
geometric mean of the squared distance to the teacher's pictures in pixels and in features, for
pixels alone prefer a blur. A ceiling need not be used up: of what is about as good as the best,
ours takes the cheapest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from nitrogen.model.errors import BudgetError
from nitrogen.model.generation import to_uint8
from nitrogen.pipelines.bench.ceilings import Ceiling, ceiling
from nitrogen.pipelines.bench.methods import Method, runner
from nitrogen.pipelines.bench.models import Models
from nitrogen.pipelines.bench.quality import Extract, Sampled, sample, squared_errors
from nitrogen.pipelines.bench.relays import has_relay
from nitrogen.pipelines.bench.settings import budget_method
from nitrogen.pipelines.bench.spacings import Spacings
from nitrogen.pipelines.bench.twins import by_rows
from nitrogen.pipelines.sampling import Draws
from nitrogen.platform.errors import ConfigError

PRICES = (1e-14, 1e-6)  # mean squared error per FLOP; a region has 1e6 to 1e8 FLOPs
EXIT_THRESHOLDS = (0.0, 1e-4, 1e-3)
BISECTIONS = 9
AS_GOOD = 1.03  # times the least error; see docs/LOG.md, 2026-11-26, for what pictures can tell
SPENT = 0.98  # of the ceiling, by the mean picture: the hard bound cuts the others off


@dataclass(frozen=True)
class Tried:
    """What a method is worth on validation: the error that is minimised, and the mean FLOPs of a
    picture with those that its steps' time would pay."""

    error: float
    spent: float
    method: Method


def cheapest(looks: Sequence[Tried]) -> Method:
    """The cheapest of those within AS_GOOD of the least error."""
    most = AS_GOOD * min(look.error for look in looks)
    return min((look for look in looks if look.error <= most), key=lambda look: look.spent).method


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
        return self.look(method).error

    def sampled(self, method: Method, drawn: Draws) -> Sampled:
        """The method's pictures on the noise levels that were chosen for it."""
        played = self.spacings.of(method, self.models)
        played = by_rows(played) or played  # the faster of two that make the same pictures
        return sample(runner(played, self.models), drawn)

    def spent(self, sampled: Sampled) -> float:
        """Mean FLOPs of a picture, with those that its steps' time would pay."""
        return float((sampled.flops + self.overhead * sampled.nfe).mean())

    def look(self, method: Method) -> Tried:
        """The method's pictures beside the teacher's, and their cost."""
        sampled = self.sampled(method, self.drawn)
        return Tried(self.distance(sampled), self.spent(sampled), method)

    def distance(self, sampled: Sampled) -> float:
        """Of pictures to the teacher's: what is minimised."""
        pixels = squared_errors(sampled.x_0, self.target).mean()
        features = np.square(self.extract(sampled.images) - self.features).mean()
        return math.sqrt(float(pixels) * float(features))

    @cached_property
    def features(self) -> np.ndarray:
        """[n, d] of the teacher's pictures."""
        return self.extract(to_uint8(torch.from_numpy(self.target)).numpy())

    def ceiling(self, tier: str) -> Ceiling:
        return ceiling(self.models, tier, self.overhead)

    def planners(self) -> list[dict[str, Any]]:
        """Equal shares for every step, and the library's own where the student has prices or a
        relay."""
        student = self.models.student
        return [{}, {"served": True}] if student.prices or student.relay else [{}]


def tuned_budget(tuning: Tuning, tier: str) -> list[Method]:
    """The cheapest steps, exit threshold and planner of about the least validation error under the
    tier's ceiling: equal shares for every step, the student's own prices, or a price; see `priced`.
    """
    found: list[Tried] = []
    for num_steps in tuning.num_steps:
        share = tuning.ceiling(tier).share(num_steps)
        for threshold in tuning.exit_thresholds if share > 0 else ():
            for planner in tuning.planners():
                method = budget_method(num_steps, share, threshold, tier, **planner)
                try:
                    found.append(tuning.look(method))
                except BudgetError:  # too many steps for so little
                    continue
    if not found:
        raise too_dear(tuning, tier)
    ranked = [look.method for look in sorted(found, key=lambda look: look.error)]
    # A price for the best few settings: finding one takes as many runs as all of the above.
    settings = {(m.setting["num_steps"], m.setting["threshold"]): m for m in reversed(ranked)}
    best_first = sorted(settings.values(), key=ranked.index)
    for method in best_first[: tuning.num_priced]:
        found.append(tuning.look(priced(tuning, method, tier)))
    return [cheapest(found)]


def priced(tuning: Tuning, method: Method, tier: str) -> Method:
    """The same setting at the price at which the mean validation picture spends its ceiling.

    Found by bisection of the logarithm: the higher the price, the less is bought.
    """
    s, most = method.setting, SPENT * tuning.ceiling(tier).flops
    own: dict[str, Any] = {"relay": True} if has_relay(tuning.models, method) else {}
    low, high = PRICES
    for _ in range(BISECTIONS):
        middle = math.sqrt(low * high)
        own["price"] = middle
        tried = budget_method(s["num_steps"], s["budget"], s["threshold"], tier, **own)
        low, high = (middle, high) if tuning.look(tried).spent > most else (low, middle)
    own["price"] = high
    return budget_method(s["num_steps"], s["budget"], s["threshold"], tier, **own)


def too_dear(tuning: Tuning, tier: str) -> ConfigError:
    """No number of steps fits: on this machine a step's fixed time takes it all."""
    return ConfigError(
        f"tune_steps must hold a number of steps that the {tier} ceiling pays for, the time of "
        f"{tuning.ceiling(tier).forwards:g} forwards, got {list(tuning.num_steps)}. Add fewer."
    )
