"""The search over our own budgets, on the validation split: steps, share, planner, price, exits."""

from __future__ import annotations

from nitrogen.pipelines.bench.settings import budget_method
from nitrogen.pipelines.bench.tuning import (
    NUM_EXITS,
    Tried,
    Tuning,
    best_settings,
    planner_of,
    priced,
    too_dear,
)


def tried_budgets(tuning: Tuning, tier: str) -> list[Tried]:
    """What was looked at for a tier: every number of steps and part of the ceiling with equal
    shares for every step and as the library plans; of the best few also exits, and a price; see
    `priced`. Exits and prices are looked at either by itself.
    """
    limit = tuning.ceiling(tier)
    asked = {
        (num_steps, part.share(num_steps)): None
        for num_steps in tuning.num_steps for part in limit.parts()
    }  # fmt: skip
    found = tuning.looks(
        budget_method(*one, tier=tier, **planner)
        for one in asked if one[1] > 0 for planner in tuning.planners()
    )  # fmt: skip
    if not found:
        raise too_dear(tuning, tier)

    best = best_settings(found, tuning.full_model, limit)
    found += tuning.looks(
        budget_method(s["num_steps"], s["budget"], threshold, tier, **planner_of(s))
        for s in (method.setting for method in best[:NUM_EXITS])
        for threshold in tuning.exit_thresholds if threshold > 0
    )  # fmt: skip
    # Finding a price takes as many runs as a number of steps does.
    for method in best[: tuning.num_priced]:
        found.append(tuning.look(priced(tuning, method, tier)))
    return found
