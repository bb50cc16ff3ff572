"""What a search on the validation split looks at, and what a setting is worth there.

Ours (budget_search.py) and the static schedules (schedule_search.py) are given the same tiers, from
the time of some forwards of the full model to that of some more, and the same seeds to look at.
Both look for what saves most: the time in which the full model is as near to its own long run, over
theirs. Near is one number: the geometric mean of the squared distance to those pictures in pixels
and in features, for pixels alone prefer a blur. The least error under a ceiling is another choice:
the last of a ceiling buys little (docs/LOG.md, 2026-11-27).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from nitrogen.model.errors import BudgetError
from nitrogen.model.generation import to_uint8
from nitrogen.pipelines.bench.ceilings import Ceiling, ceiling
from nitrogen.pipelines.bench.contenders import dense
from nitrogen.pipelines.bench.hull import Hull, lower_hull
from nitrogen.pipelines.bench.methods import Method, runner
from nitrogen.pipelines.bench.models import Models
from nitrogen.pipelines.bench.quality import Extract, Sampled, sample, squared_errors
from nitrogen.pipelines.bench.settings import SOLVER
from nitrogen.pipelines.bench.spacings import Spacings
from nitrogen.pipelines.bench.twins import by_rows
from nitrogen.pipelines.sampling import Draws
from nitrogen.platform.errors import ConfigError

EXIT_THRESHOLDS = (0.0, 1e-4, 1e-3)
DEFAULT_STEPS = (3, 4, 5, 6, 8, 10, 12, 16)  # of the full model where no levels were chosen


@dataclass(frozen=True)
class Tried:
    """What a method is worth on validation: its error, and the mean FLOPs of a picture with those
    that its steps' time would pay."""

    error: float
    spent: float
    method: Method


def most_saved(looks: Sequence[Tried], full_model: Hull, limit: Ceiling) -> Tried:
    """Of the looks within the tier the one that saves most, the nearer of two that save the same;
    the nearest where all are outside."""
    inside = [look for look in looks if limit.holds(look.spent)]
    if not inside:
        return min(looks, key=lambda look: look.error)
    return best_first(inside, full_model)[0]


def best_first(looks: Sequence[Tried], full_model: Hull) -> list[Tried]:
    """What saves most first, the nearer of two that save the same."""
    return sorted(looks, key=lambda look: (-saved(look, full_model), look.error))


def saved(look: Tried, full_model: Hull) -> float:
    """log of the FLOPs, time among them, in which the full model is as near, over the look's."""
    if full_model.misses(look.error):
        return -math.inf  # worse than all of it: the cheapest would win, however bad
    return full_model.log_cost_at(look.error) - math.log(look.spent)


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
    known: Hull | None = None  # of the full model, where it was drawn before

    def error(self, method: Method) -> float:
        """See `distance`."""
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

    def looks(self, methods: Iterable[Method]) -> list[Tried]:
        """Of those whose budget pays for so many steps."""
        found = []
        for method in methods:
            with suppress(BudgetError):
                found.append(self.look(method))
        return found

    def distance(self, sampled: Sampled) -> float:
        """How far pictures are from the teacher's of the same seeds; 0 for those themselves."""
        pixels = squared_errors(sampled.x_0, self.target).mean()
        features = np.square(self.extract(sampled.images) - self.features).mean()
        return math.sqrt(float(pixels) * float(features))

    @cached_property
    def features(self) -> np.ndarray:
        """[n, d] of the teacher's pictures."""
        return self.extract(to_uint8(torch.from_numpy(self.target)).numpy())

    @cached_property
    def full_model(self) -> Hull:
        """Of FLOPs, time among them, and error: by every solver and number of steps whose noise
        levels were chosen; by SOLVER over DEFAULT_STEPS where none were."""
        if self.known is not None:
            return self.known
        chosen = [(by, n) for of, by, n in self.spacings.chosen if of == "teacher"]
        asked = chosen or [(SOLVER, n) for n in DEFAULT_STEPS]
        looks = [self.look(dense("teacher", "teacher", solver, n)) for solver, n in asked]
        return lower_hull([look.spent for look in looks], [look.error for look in looks])

    def ceiling(self, tier: str) -> Ceiling:
        return ceiling(self.models, tier, self.overhead)

    def planners(self) -> list[dict[str, Any]]:
        """Equal shares for every step, and the library's own where the student has prices or a
        relay."""
        student = self.models.student
        return [{}, {"served": True}] if student.prices or student.relay else [{}]


def too_dear(tuning: Tuning, tier: str) -> ConfigError:
    """No number of steps fits: on this machine, or beside what it does, a step's fixed time takes
    it all."""
    return ConfigError(
        f"tune_steps must hold a number of steps that the {tier} ceiling pays for, the time of "
        f"{tuning.ceiling(tier).forwards:g} forwards, got {list(tuning.num_steps)}. Start again "
        "when the machine has nothing else to do, or add fewer."
    )
