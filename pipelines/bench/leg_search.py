"""Where a relay of these models changes networks: its legs, searched on the validation split.

For each number of steps, what leaves the least error with strides of the narrowest width, the
cheapest that the relay takes: the sigma at which the full model takes over, then where and how
evenly its own levels end. Beside each leg stands the full model alone, on the best levels found for
it, at as many steps and at one more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.leg import Leg
from nitrogen.model.pipeline import Pipeline
from nitrogen.model.relay import Relay, RelayTable
from nitrogen.pipelines.bench.contenders import dense
from nitrogen.pipelines.bench.methods import Method, runner
from nitrogen.pipelines.bench.models import TUNE_SPLIT, Models, pictures
from nitrogen.pipelines.bench.quality import Extract, Sampled, reference, sample, squared_errors
from nitrogen.pipelines.bench.spacings import best_spacing, spaced
from nitrogen.pipelines.bench.twins import by_rows
from nitrogen.pipelines.sampling import Draws, draws
from nitrogen.platform.errors import DataError

SIGMAS = (1.5, 2.5, 3.5, 5.0, 7.0, 10.0, 14.0, 20.0)
SIGMA_MINS = (0.08, 0.15, 0.25, 0.4)
RHOS = (2.0, 3.0, 5.0, 7.0)
START = Leg(2, 5.0, 0.15, 3.0)  # about the middle of what was best on emoji
ROUNDS = 2  # over the three numbers
SOLVER = "dpmpp_2m"


@dataclass(frozen=True)
class LegSearch:
    """Seeds of the validation split, the teacher's pictures of them, and what features are."""

    models: Models
    drawn: Draws
    target: np.ndarray  # [n, h, w, c]
    extract: Extract
    say: Callable[[str], None] = lambda text: None

    def error(self, sampled: Sampled) -> float:
        """Geometric mean of the squared distance in pixels and in features, as all tuning's."""
        pixels = squared_errors(sampled.x_0, self.target).mean()
        features = np.square(self.extract(sampled.images) - self.features).mean()
        return math.sqrt(float(pixels) * float(features))

    @cached_property
    def features(self) -> np.ndarray:
        """[n, d] of the teacher's pictures."""
        return self.extract(Sampled(self.target, self.target, self.target, None).images)

    def of_leg(self, num_steps: int, leg: Leg) -> float:
        """Of the relay on that leg, its strides at the narrowest width."""
        widths = [1] * leg.early + [NUM_WIDTHS] * (num_steps - leg.early)
        setting = {
            "model": "student", "solver": SOLVER, "num_steps": num_steps, "widths": widths,
            "relay": True,
        }  # fmt: skip
        relay = Relay(self.models.teacher.denoiser, RelayTable({num_steps: leg}))
        own = self.models.student
        student = Pipeline(own.denoiser, own.classes, own.predictor, relay=relay)
        models = replace(self.models, student=student)
        method = Method(f"relay {num_steps}", "static", "played", setting)
        return self.error(sample(runner(method, models), self.drawn))

    def of_teacher(self, num_steps: int) -> float:
        """Of the full model alone, on the best noise levels found for so many steps."""
        method = dense("teacher", "teacher", SOLVER, num_steps)
        best = best_spacing(method, self._dense)
        return self._dense(spaced(method, best))

    def _dense(self, method: Method) -> float:
        return self.error(sample(runner(by_rows(method) or method, self.models), self.drawn))

    def best(self, num_steps: int, start: Leg = START) -> tuple[Leg, float]:
        """One number after the other, until none helps. Returns the leg and its error."""
        if not 1 <= start.early < num_steps - 1:
            raise DataError(
                f"a relay must have strides and 2 steps after them, got {start.early} of "
                f"{num_steps}. Take more steps."
            )
        found = {start: self.of_leg(num_steps, start)}
        for _ in range(ROUNDS):
            before = min(found, key=lambda leg: found[leg])
            for varied in (other_sigmas, other_sigma_mins, other_rhos):
                best = min(found, key=lambda leg: found[leg])
                for leg in varied(best):
                    if leg not in found and leg.can_run(num_steps):
                        found[leg] = self.of_leg(num_steps, leg)
            if min(found, key=lambda leg: found[leg]) == before:
                break
        best = min(found, key=lambda leg: found[leg])
        self.say(f"{num_steps} steps: {list(astuple(best))}, {found[best]:.3g}")
        return best, found[best]


def other_sigmas(leg: Leg) -> list[Leg]:
    return [replace(leg, sigma=sigma) for sigma in SIGMAS]


def other_sigma_mins(leg: Leg) -> list[Leg]:
    return [replace(leg, sigma_min=sigma) for sigma in SIGMA_MINS]


def other_rhos(leg: Leg) -> list[Leg]:
    return [replace(leg, rho=rho) for rho in RHOS]


def run_leg_search(
    models: Models,
    extract: Extract,
    say: Callable[[str], None],
    num_steps: Sequence[int],
    early: int,
    num_seeds: int,
) -> dict[str, Any]:
    """Legs for each number of steps as JSON values, as a recipe's `distill.relay` has them.

    Raises DataError for a student that is not strided, which no relay can begin with.
    """
    if not models.student.arch.strided:
        raise DataError("the student must be strided, got one that is not. Set student.strided.")
    labels = pictures(models.data_uri, TUNE_SPLIT, models.arch.image_size)[1]
    drawn = draws("sweep", num_seeds, labels, 0)
    say(f"the teacher's pictures of {num_seeds} seeds")
    search = LegSearch(models, drawn, reference(models, drawn), extract, say)
    find = partial(search.best, start=replace(START, early=early))
    legs = {steps: find(steps) for steps in num_steps}
    alone = {n: search.of_teacher(n) for n in sorted({*num_steps, *(n + 1 for n in num_steps)})}
    return {
        "dataset": models.name,
        "split": TUNE_SPLIT,
        "n": num_seeds,
        "models": dict(models.digests),
        "relay": {str(steps): list(astuple(leg)) for steps, (leg, _) in legs.items()},
        "errors": {str(steps): error for steps, (_, error) in legs.items()},
        "teacher": {str(steps): error for steps, error in alone.items()},
    }
