"""How a search writes down what it tries: a row of ours, or a static schedule, as a Method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from nitrogen.pipelines.bench.methods import Method
from nitrogen.pipelines.bench.relays import Place

SOLVER = "dpmpp_2m"


def relay_method(widths: Sequence[int], tier: str | None = None, place: Place = True) -> Method:
    """The student's strides by one width each, then the full model, whole: no predictor. place:
    of the relay."""
    kind = "relay" if place is True else f"relay {place}"
    name = f"schedule {tier}, {kind}" if tier else f"{kind} {widths[0]}/4, {len(widths)} steps"
    setting = {
        "model": "student", "solver": SOLVER, "num_steps": len(widths), "widths": list(widths),
        "relay": place,
    }  # fmt: skip
    return Method(name, "static", "played", setting | ({"tier": tier} if tier else {}))


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
    equal shares; relay=True for late steps by the full model; see methods.named_policy.
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
