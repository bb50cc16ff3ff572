"""`nitrogen bench attack`: inputs that make the adaptive model spend as much as it can be made to.

Three attackers of rising knowledge: the most expensive of many seeds, evolution over the starting
noise with the cost as its only answer, and gradient ascent on noise and class embedding through the
network and the predictor. Each is measured with a budget and without one, always by the sampler
itself, never by the attacker's own proxy. Parts that are done are kept: a cut-off run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.pipeline import Pipeline
from nitrogen.pipelines.bench.attackers import Attacker, evolve, random_inputs, random_labels
from nitrogen.pipelines.bench.conditions import provider
from nitrogen.pipelines.bench.forecast import Forecast, Say
from nitrogen.pipelines.bench.row_store import Row, RowStore, row_key
from nitrogen.pipelines.bench.victim import AttackConfig, Cost, Victim
from nitrogen.pipelines.code_digest import code_digests

CHUNK = 640  # seeds of one part
BACKWARD = 6.0  # of a step of ascent over a forward: two more, one picture at a time
USUAL = 0.7  # of full compute, without a budget
LIMITS = ("no budget", "budget", "relay")  # the last of a student that has one


def run_attack(
    config: AttackConfig, pipeline: Pipeline, digest: str, folder: Path, say: Say
) -> dict[str, Any]:
    """Every attacker with and without the budget, as JSON values.

    digest: of the model; folder: where parts are kept.
    """
    kept = Kept(config, digest, RowStore(folder), Forecast(say))
    victims = {name: Victim(pipeline, config, name) for name in limits_of(pipeline)}
    kept.expect(victims)
    found = {}
    for name, victim in victims.items():
        usual = merged([kept.seeds(name, victim, start) for start in chunks(config)])
        ascents = [kept.ascent(name, victim, i) for i in range(config.ascents)]
        attackers = {
            "seeds": usual,
            "evolution": kept.evolution(name, victim, usual),
            "gradient": merged([both for both, _, _ in ascents]),
        }
        alone = {
            "noise": merged([noise for _, noise, _ in ascents]),
            "embedding": merged([embedding for _, _, embedding in ascents]),
        }
        found[name] = {
            "mean_gflops": float(usual.flops.mean() / 1e9),
            "full_gflops": usual.full / 1e9,
            "ceiling_gflops": usual.ceiling / 1e9,
            "attacks": {a: described(cost, usual) for a, cost in attackers.items()},
            # How far the gradient attack gets with one of its two inputs alone.
            "gradient_alone": {
                what: float(cost.flops.max() / usual.flops.mean()) for what, cost in alone.items()
            },
        }
    return {"config": config.model_dump(mode="json"), **found}


def limits_of(pipeline: Pipeline) -> tuple[str, ...]:
    return LIMITS if pipeline.relay is not None else LIMITS[:2]


def chunks(config: AttackConfig) -> range:
    return range(0, config.num_seeds, CHUNK)


class Kept:
    """Costs by key, and the time until all are there."""

    def __init__(self, config: AttackConfig, digest: str, store: RowStore, forecast: Forecast):
        self.config, self.store, self.forecast = config, store, forecast
        self._facts = {
            "config": config.model_dump(mode="json"), "model": digest, "kernels": provider(),
            "threads": torch.get_num_threads(), "code": code_digests(__name__),
        }  # fmt: skip

    def expect(self, victims: Mapping[str, Victim]) -> None:
        """Tells the forecast what is not at hand."""
        config = self.config
        for name, victim in victims.items():
            share = (victim.budget or USUAL) * victim.num_steps
            picture = share * float(victim.sampler.cost.full_flops)
            work = {
                self._name(name, "seeds", i): picture * min(CHUNK, config.num_seeds - i)
                for i in chunks(config)
            }
            born = min(config.population, config.num_seeds) * (config.generations + 1)
            work[self._name(name, "evolution")] = picture * born
            climbed = config.ascent_steps * config.horizon * BACKWARD * picture / share
            work |= {self._name(name, "gradient", i): climbed for i in range(config.ascents)}
            self.forecast.expect(
                {part: flops for part, flops in work.items() if not self.store.has(self._key(part))}
            )
        self.forecast.say(f"{config.num_seeds} seeds, evolution and gradients, each limit")

    def seeds(self, name: str, victim: Victim, start: int) -> Cost:
        """The costs of one chunk of the seeds."""

        def make() -> dict[str, Cost]:
            num = min(CHUNK, self.config.num_seeds - start)
            labels = random_labels(victim, self.config.num_seeds, self.config.seed)
            eps = random_inputs(victim, num, self.config.seed * self.config.num_seeds + start)
            return {"": victim.cost(eps, labels[start : start + num])}

        return self._kept(victim, self._name(name, "seeds", start), make)[""]

    def evolution(self, name: str, victim: Victim, usual: Cost) -> Cost:
        def make() -> dict[str, Cost]:
            labels = random_labels(victim, self.config.num_seeds, self.config.seed)
            return {"": evolve(victim, labels, usual.flops)}

        return self._kept(victim, self._name(name, "evolution"), make)[""]

    def ascent(self, name: str, victim: Victim, number: int) -> tuple[Cost, Cost, Cost]:
        """What one climb cost: with noise and embedding, with its noise, with its embedding."""

        def make() -> dict[str, Cost]:
            first = self.config.seed * self.config.num_seeds + self.config.num_seeds
            eps = random_inputs(victim, 1, first + number)
            labels = random_labels(victim, self.config.ascents, self.config.seed + 1)
            return Attacker(victim).attack(eps, labels[number])

        found = self._kept(victim, self._name(name, "gradient", number), make)
        return found["both"], found["noise"], found["embedding"]

    def _kept(
        self, victim: Victim, part: str, make: Callable[[], Mapping[str, Cost]]
    ) -> dict[str, Cost]:
        """Costs by name from the store, or made now."""
        key = self._key(part)
        row = self.store.get(key)
        if row is None:
            with self.forecast.working(part):
                arrays: dict[str, np.ndarray] = {}
                for name, cost in make().items():
                    arrays |= {f"flops:{name}": cost.flops, f"widths:{name}": cost.widths}
                row = self.store.put(Row(key, {"part": part}, arrays))
        self.forecast.drop(part)
        names = [name.partition(":")[2] for name in row.arrays if name.startswith("flops:")]
        bounds = victim.bounds()
        return {
            n: Cost(row.arrays[f"flops:{n}"], *bounds, row.arrays[f"widths:{n}"]) for n in names
        }

    def _key(self, part: str) -> str:
        return row_key({"part": part}, self._facts)

    @staticmethod
    def _name(limit: str, attack: str, number: int | None = None) -> str:
        return f"{limit}: {attack}" + ("" if number is None else f" from {number}")


def merged(costs: list[Cost]) -> Cost:
    """Several attacks under one ceiling as one."""
    return replace(
        costs[0],
        flops=np.concatenate([cost.flops for cost in costs]),
        widths=np.concatenate([cost.widths for cost in costs]),
    )


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
