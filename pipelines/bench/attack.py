"""`nitrogen bench attack`: inputs that make the adaptive model spend as much as it can be made to.

Three attackers of rising knowledge: the most expensive of many seeds, evolution over the starting
noise with the cost as its only answer, and gradient ascent on noise and class embedding through the
network and the predictor. Each is measured with a budget and without one, always by the sampler
itself, never by the attacker's own proxy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.pipeline import Pipeline
from nitrogen.pipelines.bench.attackers import ascend, evolve, random_inputs
from nitrogen.pipelines.bench.victim import AttackConfig, Cost, Victim

Say = Callable[[str], None]


def run_attack(config: AttackConfig, pipeline: Pipeline, say: Say) -> dict[str, Any]:
    """Every attacker with and without the budget, as JSON values."""
    found = {}
    for with_budget in (False, True):
        victim = Victim(pipeline, config, with_budget)
        name = "budget" if with_budget else "no budget"
        say(f"{name}: {config.num_seeds} seeds")
        eps, labels = random_inputs(victim, config.num_seeds, config.seed)
        usual = victim.cost(eps, labels)
        attackers = {"seeds": usual}
        say(f"{name}: evolution, {config.generations} generations")
        attackers["evolution"] = evolve(victim, eps, labels, usual.flops)
        say(f"{name}: gradient ascent, {config.ascent_steps} steps")
        attackers["gradient"] = ascend(victim)
        found[name] = {
            "mean_gflops": float(usual.flops.mean() / 1e9),
            "full_gflops": usual.full / 1e9,
            "ceiling_gflops": usual.ceiling / 1e9,
            "attacks": {a: described(cost, usual) for a, cost in attackers.items()},
        }
    return {"config": config.model_dump(mode="json"), **found}


def described(worst: Cost, usual: Cost) -> dict[str, Any]:
    """How far the worst of an attack lies above the mean of random seeds, and where that is from.

    Extra compute is counted in full-width region-steps. by_thirds: in the first, middle and last
    third of the steps; from_holds: by regions that others hold or have exited by then, at the
    usual width; from_widths: the rest, by regions that run wider.
    """
    index = int(worst.flops.argmax())
    extra = _relative(worst.widths[index]) - np.mean([_relative(w) for w in usual.widths], axis=0)
    steps = extra.sum(axis=(1, 2))
    total = float(steps.sum())
    thirds = [float(part.sum()) for part in np.array_split(steps, 3)]
    fewer_held = (usual.widths == 0).mean(axis=0) - (worst.widths[index] == 0)
    computed = usual.widths[usual.widths > 0]
    from_holds = float(fewer_held.sum()) * float(computed.mean() / NUM_WIDTHS)
    return {
        "max_gflops": float(worst.flops.max() / 1e9),
        "amplification": float(worst.flops.max() / usual.flops.mean()),
        "share_of_ceiling": float(worst.flops.max() / worst.ceiling),
        "never_above_ceiling": bool((worst.flops <= worst.ceiling).all()),
        "n": len(worst.flops),
        "extra_region_steps": total,
        "by_thirds": thirds,
        "from_holds": from_holds,
        "from_widths": total - from_holds,
    }


def _relative(widths: np.ndarray) -> np.ndarray:
    """Share of a full region's width, [steps, rh, rw]."""
    return widths.astype(np.float64) / NUM_WIDTHS
