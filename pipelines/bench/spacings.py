"""The noise levels of few steps, chosen on the validation split for every solver.

EDM's spacing was made for 18 steps and more. With few, other levels are worth up to a step, so the
full model and thin models are each given the best that is found; caches on the full model and
static schedules of a student take the full model's. Ours is sampled as the library samples it: on
EDM's levels, or those that a strided student was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from nitrogen.model.schedules import KARRAS, Spacing
from nitrogen.pipelines.bench.methods import Method
from nitrogen.pipelines.bench.models import Models

RHOS = (3.0, 4.0, 7.0, 12.0, 30.0)  # 30 is as good as even in ln sigma
SIGMA_MINS = (0.002, 0.03, 0.1, 0.2, 0.4)
STRIDES = ((1, 12.0), (2, 12.0), (2, 6.0))  # and where they end, as in a relay
TRIES = len(RHOS) + len(SIGMA_MINS) + len(STRIDES) - 1
AS_IN_THE_LIBRARY = ("ours", "control")


@dataclass(frozen=True)
class Spacings:
    """The spacing of a model by a solver with a number of steps, where one was chosen."""

    chosen: Mapping[tuple[str, str, int], Spacing] = field(default_factory=dict)

    def of(self, method: Method, models: Models) -> Method:
        """The method on the levels that were chosen for its solver and nearest number of steps."""
        if method.group in AS_IN_THE_LIBRARY or models.get(method.model).arch.strided:
            return method
        solver, num_steps = method.setting["solver"], method.setting["num_steps"]
        for model in (method.model, "teacher"):
            known = [n for of, by, n in self.chosen if (of, by) == (model, solver)]
            if known:
                nearest = min(known, key=lambda steps: (abs(steps - num_steps), steps))
                return spaced(method, self.chosen[model, solver, nearest])
        return method

    def values(self) -> list[list[object]]:
        """The teacher's as JSON values, in order: part of the key of a search over the student's
        settings, which sees no other model's."""
        chosen = [(key, one) for key, one in self.chosen.items() if key[0] == "teacher"]
        return sorted([*key, *told(one)] for key, one in chosen)


def spaced(method: Method, spacing: Spacing) -> Method:
    """The method on these levels."""
    if spacing == KARRAS:
        return method
    return replace(method, setting={**method.setting, "spacing": told(spacing)})


def told(spacing: Spacing) -> list[float]:
    """As JSON values, of which Spacing is made again."""
    levels = [spacing.sigma_min, spacing.rho]
    strides = [spacing.sigma_max, spacing.strides, spacing.knee]
    return levels + strides if spacing.strides else levels


def best_spacing(
    method: Method, error: Callable[[Method], float], others: Iterable[Spacing] = ()
) -> Spacing:
    """Of least error: the best sigma_min at EDM's rho, then the best rho at that sigma_min, then
    with the first strides of a relay, which without it are worth a step at times too; or one of
    `others`."""
    found = {KARRAS: error(method)}
    for sigma_min in SIGMA_MINS:
        spacing = replace(KARRAS, sigma_min=sigma_min)
        if spacing not in found:
            found[spacing] = error(spaced(method, spacing))
    best = min(found, key=lambda one: found[one])
    for rho in RHOS:
        spacing = replace(best, rho=rho)
        if spacing not in found:
            found[spacing] = error(spaced(method, spacing))
    best = min(found, key=lambda one: found[one])
    for strides, knee in STRIDES if method.setting["num_steps"] > 2 else ():
        spacing = replace(best, strides=strides, knee=knee)
        found[spacing] = error(spaced(method, spacing))
    for spacing in others:
        if spacing not in found:
            found[spacing] = error(spaced(method, spacing))
    return min(found, key=lambda one: found[one])
