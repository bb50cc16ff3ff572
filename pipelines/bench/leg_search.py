"""Where a relay of these models changes networks: its legs, searched on the validation split.

For each number of steps, what leaves the least error with strides of given widths: the sigma at
which the full model takes over, then where and how evenly its own levels end. Beside the legs
stands the full model alone, on the best levels found for each number of steps, and how many of its
forwards are as near. What was chosen on some seeds is told of others. All that is looked at is kept
by key: a search that was cut off goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

from nitrogen.model.config import MAX_STEPS, NUM_WIDTHS
from nitrogen.model.leg import Leg
from nitrogen.model.pipeline import Pipeline
from nitrogen.model.relay import Relay, RelayTable
from nitrogen.model.schedules import Spacing
from nitrogen.pipelines.bench.contenders import dense
from nitrogen.pipelines.bench.forecast import Say
from nitrogen.pipelines.bench.hull import Hull, lower_hull
from nitrogen.pipelines.bench.kept_looks import ErrorAtCost, Looks
from nitrogen.pipelines.bench.methods import Method, runner
from nitrogen.pipelines.bench.models import TUNE_SPLIT, Models, pictures
from nitrogen.pipelines.bench.quality import Extract, sample
from nitrogen.pipelines.bench.settings import SOLVER, relay_method
from nitrogen.pipelines.bench.spacings import best_spacing, spaced
from nitrogen.pipelines.bench.tuning import Tuning
from nitrogen.pipelines.sampling import Draws, draws
from nitrogen.platform.errors import ConfigError

SIGMAS = (1.5, 2.5, 3.5, 5.0, 7.0, 10.0, 14.0, 20.0)
SIGMA_MINS = (0.08, 0.15, 0.25, 0.4)
RHOS = (2.0, 3.0, 5.0, 7.0)
START = Leg(2, 5.0, 0.15, 3.0)  # about the middle of what was best on emoji
ROUNDS = 2  # over the three numbers, at most
FULL_STEPS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 16)  # of the full model alone


@dataclass(frozen=True)
class LegSearch:
    """tuning: the models, seeds of the validation split, and the teacher's pictures of them;
    strides: quarters of each stride's width."""

    tuning: Tuning
    looks: Looks
    strides: tuple[int, ...] = (1, 1)

    def relay(self, num_steps: int, leg: Leg) -> ErrorAtCost:
        """The relay on that leg."""
        described = {"leg": astuple(leg), "steps": num_steps, "strides": self.strides}
        return self._look(described, lambda: self._relay(num_steps, leg))

    def full_model(self, num_steps: int, spacing: Spacing) -> ErrorAtCost:
        """The full model alone, on these noise levels."""
        method = spaced(dense("teacher", "teacher", SOLVER, num_steps), spacing)
        return ErrorAtCost(self._error(method), num_steps)

    def _look(
        self, described: Mapping[str, Any], measure: Callable[[], ErrorAtCost]
    ) -> ErrorAtCost:
        drawn = self.tuning.drawn
        more = {"seeds": drawn.seeds, "labels": drawn.labels}
        return self.looks.at({**described, **more}, measure)

    def _relay(self, num_steps: int, leg: Leg) -> ErrorAtCost:
        models = self.tuning.models
        own, table = models.student, RelayTable({num_steps: leg})
        relay = Relay(models.teacher.denoiser, table)
        student = Pipeline(own.denoiser, own.classes, own.predictor, relay=relay)
        method = relay_method([*self.strides, *[NUM_WIDTHS] * (num_steps - leg.early)])
        run = runner(method, replace(models, student=student))
        sampled = sample(run, self.tuning.drawn)
        forwards = float(sampled.flops.mean()) / models.cost.full_flops
        return ErrorAtCost(self.tuning.distance(sampled), forwards)

    def best(self, num_steps: int) -> Leg:
        """One number after the other, until a round over all of them brings nothing."""
        start = replace(START, early=len(self.strides))
        found = {start: self.relay(num_steps, start).error}
        best = start
        # One late step has one level.
        numbers = (_sigmas, _sigma_mins, _rhos) if num_steps > start.early + 1 else (_sigmas,)
        for _ in range(ROUNDS):
            before = best
            for varied in numbers:
                for leg in varied(best):
                    if leg not in found and leg.can_run(num_steps):
                        found[leg] = self.relay(num_steps, leg).error
                best = min(found, key=lambda leg: found[leg])
            if best == before:
                break
        return best

    def best_levels(self, num_steps: int, legs: Sequence[Leg]) -> Spacing:
        """Of the full model: as the benchmark chooses them, or those of one of the legs."""
        method = dense("teacher", "teacher", SOLVER, num_steps)
        as_legs = [leg.spacing() for leg in legs if leg.can_run(num_steps)]
        return best_spacing(method, self._error, as_legs)

    def _error(self, method: Method) -> float:
        def measure() -> ErrorAtCost:
            return ErrorAtCost(self.tuning.error(method), method.setting["num_steps"])

        return self._look(method.described(), measure).error


def _sigmas(leg: Leg) -> list[Leg]:
    return [replace(leg, sigma=sigma) for sigma in SIGMAS]


def _sigma_mins(leg: Leg) -> list[Leg]:
    return [replace(leg, sigma_min=sigma) for sigma in SIGMA_MINS]


def _rhos(leg: Leg) -> list[Leg]:
    return [replace(leg, rho=rho) for rho in RHOS]


def check_steps(num_steps: Sequence[int], strides: Sequence[int]) -> None:
    """Raises ConfigError for what cannot be searched."""
    if not all(1 <= quarters <= NUM_WIDTHS for quarters in strides):
        raise ConfigError(
            f"--stride must be 1 to {NUM_WIDTHS} quarters, got {list(strides)}. Correct the widths."
        )
    for steps in num_steps:
        if not 1 <= len(strides) < steps <= MAX_STEPS:
            raise ConfigError(
                f"--stride must be given for 1 to steps - 1 strides and --steps be at most "
                f"{MAX_STEPS}, got {len(strides)} of {steps} steps. Take other numbers."
            )


def run_leg_search(
    models: Models,
    folder: Path,
    extract: Extract,
    say: Say,
    num_steps: Sequence[int],
    strides: Sequence[int],
    num_seeds: int,
) -> dict[str, Any]:
    """Legs for each number of steps, `relay` as a recipe's distill.relay has them; `rows`: each
    one's error, cost in forwards, and worth in forwards of the full model, both of FLOPs alone, so
    that narrow strides look better than their time; `full_model`: its errors. JSON values.

    folder: where looks are kept; num_seeds: that are searched on, and as many others that errors
    are told of.
    Raises ConfigError for steps that leave no room, or a student that is not strided.
    """
    check_steps(num_steps, strides)
    if not models.student.arch.strided:
        raise ConfigError(
            "--run must hold a strided student, got one that is not. Set distill.student.strided: "
            "true and run the recipe again."
        )
    looks = Looks.of(models, extract, folder, __name__)
    searched, told = halves(models, looks, extract, say, strides, num_seeds)
    legs = {}
    for steps in num_steps:
        legs[steps] = searched.best(steps)
        say(f"{steps} steps: {list(astuple(legs[steps]))}")
    say(f"the full model alone at {', '.join(map(str, FULL_STEPS))} steps")
    found = list(legs.values())
    alone = {n: told.full_model(n, searched.best_levels(n, found)).error for n in FULL_STEPS}
    hull = lower_hull(list(alone), list(alone.values()))
    rows = []
    for steps, leg in legs.items():
        mine = told.relay(steps, leg)
        rows.append({
            "num_steps": steps, "error": mine.error, "forwards": mine.forwards,
            "worth": worth(mine.error, hull),
        })  # fmt: skip
    return {
        "dataset": models.name, "split": TUNE_SPLIT, "n": num_seeds, "strides": list(strides),
        "models": dict(models.digests), "rows": rows,
        "relay": {str(steps): list(astuple(leg)) for steps, leg in legs.items()},
        "full_model": {str(n): error for n, error in alone.items()},
    }  # fmt: skip


def halves(
    models: Models, looks: Looks, extract: Extract, say: Say, strides: Sequence[int], num_seeds: int
) -> tuple[LegSearch, LegSearch]:
    """What is searched on, and as many other seeds that errors are told of."""
    labels = pictures(models.data_uri, TUNE_SPLIT, models.arch.image_size)[1]
    drawn = draws("sweep", 2 * num_seeds, labels, 0)
    say(f"the teacher's pictures of {len(drawn)} seeds")
    target = looks.target(models, drawn)
    parts = slice(num_seeds), slice(num_seeds, None)
    searched, told = (
        LegSearch(
            Tuning(models, Draws(drawn.labels[p], drawn.seeds[p]), target[p], extract, 0.0),
            looks,
            tuple(strides),
        )
        for p in parts
    )
    return searched, told


def worth(error: float, full_model: Hull) -> float | None:
    """Forwards of the full model that are as near; None where it is never as far or as near."""
    if not full_model.error[-1] <= error <= full_model.error[0]:
        return None
    return math.exp(full_model.log_cost_at(error))
