"""The search over our own budgets, on the validation split: steps, share, planner, price, exits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nitrogen.pipelines.bench.ceilings import Ceiling
from nitrogen.pipelines.bench.hull import Hull
from nitrogen.pipelines.bench.methods import Method
from nitrogen.pipelines.bench.relays import relay_taken
from nitrogen.pipelines.bench.settings import budget_method
from nitrogen.pipelines.bench.tuning import Tried, Tuning, best_first, too_dear

PRICES = (1e-14, 1e-6)  # mean squared error per FLOP; a region has 1e6 to 1e8 FLOPs
BISECTIONS = 9
NUM_EXITS = 3  # settings whose exits are looked at: no tier of 2026-11-27 took any, so few
SPENT = 0.98  # of the budget, by the mean picture: the hard bound cuts the others off


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


def best_settings(looks: Sequence[Tried], full_model: Hull, limit: Ceiling) -> list[Method]:
    """Of each number of steps and budget the planner that saves most, the best first."""
    inside = [look for look in looks if limit.holds(look.spent)]
    outside = [look for look in looks if not limit.holds(look.spent)]
    found: dict[tuple[int, float], Method] = {}
    for look in [*best_first(inside, full_model), *best_first(outside, full_model)]:
        s = look.method.setting
        found.setdefault((s["num_steps"], s["budget"]), look.method)
    return list(found.values())


def planner_of(setting: Mapping[str, Any]) -> dict[str, Any]:
    """What `budget_method` was told of it."""
    return {name: setting[name] for name in ("served", "relay", "price") if name in setting}


def priced(tuning: Tuning, method: Method, tier: str) -> Method:
    """The same setting at the price at which the mean validation picture spends its budget.

    Found by bisection of the logarithm: the higher the price, the less is bought.
    """
    s, own_flops = method.setting, tuning.models.cost_of("student").full_flops
    most = SPENT * s["num_steps"] * (s["budget"] * own_flops + tuning.overhead)
    own: dict[str, Any] = {"relay": True} if relay_taken(tuning.models, method) else {}
    low, high = PRICES
    for _ in range(BISECTIONS):
        middle = math.sqrt(low * high)
        own["price"] = middle
        tried = budget_method(s["num_steps"], s["budget"], s["threshold"], tier, **own)
        low, high = (middle, high) if tuning.look(tried).spent > most else (low, middle)
    own["price"] = high
    return budget_method(s["num_steps"], s["budget"], s["threshold"], tier, **own)
