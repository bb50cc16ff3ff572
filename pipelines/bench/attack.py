"""`nitrogen bench attack`: inputs that make the adaptive model spend as much as it can be made to.

Three attackers of rising knowledge: the most expensive of many seeds, evolution over the starting
noise with the cost as its only answer, and gradient ascent on noise and class embedding through the
network and the predictor. Each is measured with a budget and without one, always by the sampler
itself, never by the attacker's own proxy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.observation import new_past, region_features, remember
from nitrogen.model.pipeline import Pipeline
from nitrogen.model.policies import make_policy
from nitrogen.model.regions import pool_to_regions
from nitrogen.model.request import Finished, Request
from nitrogen.model.sampler import Sampler, noise
from nitrogen.model.schedules import sampling_sigmas
from nitrogen.model.solvers import slide

Say = Callable[[str], None]
BATCH = 64
LEARNING_RATE = 0.05  # of the ascent, for noise of unit variance


class AttackConfig(BaseModel):
    """How hard the attackers try.

    threshold     of the policy without a budget; with one, of its exits
    budget        share of the FLOPs of num_steps forwards
    num_seeds     drawn by the first attacker; its mean is what amplification is measured against
    population, generations   of evolution; children are the best tenth, mixed and disturbed
    ascents, ascent_steps     pictures and steps of gradient ascent
    horizon       denoising steps that the gradient goes through
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_steps: int = Field(12, ge=2)
    threshold: float = Field(3e-4, gt=0)
    budget: float = Field(0.5, gt=0, le=1)
    num_seeds: int = Field(10_000, ge=2)
    population: int = Field(64, ge=4)
    generations: int = Field(30, ge=1)
    ascents: int = Field(16, ge=1)
    ascent_steps: int = Field(60, ge=1)
    horizon: int = Field(3, ge=1)
    embedding_radius: float = Field(2.0, gt=0)  # times the largest norm of a class embedding
    seed: int = Field(0, ge=0)

    @classmethod
    def quick(cls) -> AttackConfig:
        return cls(
            num_steps=6, num_seeds=24, population=8, generations=2, ascents=2, ascent_steps=2,
            horizon=2,
        )  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """What requests cost. flops: [n]; ceiling: what none may exceed; widths: [n, steps, rh, rw]."""

    flops: np.ndarray
    ceiling: float
    full: float
    widths: np.ndarray


class Victim:
    """The student under one policy; answers what noise and labels cost."""

    def __init__(self, pipeline: Pipeline, config: AttackConfig, with_budget: bool):
        self.pipeline, self.config = pipeline, config
        self.budget = config.budget if with_budget else None
        name = "budget" if with_budget else "threshold"
        policy = make_policy(name, config.threshold, self.budget)
        self.sampler = Sampler(pipeline.denoiser, policy, predictor=pipeline.predictor)

    def cost(self, eps: Tensor, labels: Sequence[int]) -> Cost:
        """eps: [n, h, w, c], the starting noise in units of the largest sigma."""
        finished: list[Finished] = []
        for start in range(0, len(eps), BATCH):
            part = slice(start, start + BATCH)
            finished += self._run(eps[part], list(labels[part]))
        longest = self.config.num_steps
        widths = np.zeros((len(finished), longest, *self.sampler.grid), np.uint8)
        for i, one in enumerate(finished):
            widths[i, : len(one.widths)] = one.widths.numpy()
        request = Request(0, 0, longest, 1.0, self.budget)
        ledger = self.sampler.ledger(request)
        return Cost(
            np.array([f.flops for f in finished]), min(ledger.ceiling(self.budget), self.worst()),
            float(ledger.full_flops), widths,
        )  # fmt: skip

    def worst(self) -> float:
        """Everything at full width at every step, and the predictor: the bound without a budget."""
        per_step = self.sampler.cost.full_flops + self.sampler.predictor_flops
        return float(self.config.num_steps * per_step)

    def _run(self, eps: Tensor, labels: list[int]) -> list[Finished]:
        requests = [
            Request(label, i, self.config.num_steps, 1.0, self.budget)
            for i, label in enumerate(labels)
        ]
        state = self.sampler.start(requests)
        sigma = state.live.sigma_at(0)[:, None, None, None]
        state = replace(state, live=replace(state.live, x=eps * sigma))
        while state.live.num_samples:
            state = self.sampler.step(state)
        return sorted(state.finished, key=lambda f: f.id)


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


def random_inputs(victim: Victim, num: int, seed: int) -> tuple[Tensor, list[int]]:
    """Noise and labels as requests bring them."""
    arch = victim.pipeline.arch
    shape = (victim.sampler.cost.height, victim.sampler.cost.width, arch.image_channels)
    labels = np.random.default_rng(seed).integers(0, arch.num_classes, num).tolist()
    return torch.stack([noise(seed * num + i, shape) for i in range(num)]), labels


def evolve(victim: Victim, eps: Tensor, labels: list[int], flops: np.ndarray) -> Cost:
    """The most expensive noises mixed and disturbed, generation by generation.

    Noise stays on the sphere of its own norm, where white noise lies, and keeps unit variance.
    """
    config = victim.config
    generator = torch.Generator().manual_seed(config.seed)
    order = np.argsort(-flops)[: config.population]
    pool, names = eps[torch.from_numpy(order.copy())], [labels[i] for i in order]
    best = victim.cost(pool, names)
    for _ in range(config.generations):
        elite = np.argsort(-best.flops)[: max(2, config.population // 10)]
        picked = [
            elite[int(torch.randint(len(elite), (1,), generator=generator))]
            for _ in range(config.population)
        ]
        strength = torch.rand(config.population, 1, 1, 1, generator=generator)
        fresh = torch.randn(pool.shape, generator=generator)
        children = (1 - strength.square()).sqrt() * pool[torch.tensor(picked)] + strength * fresh
        children[: len(elite)] = pool[torch.from_numpy(elite.copy())]
        names = [names[i] for i in elite] + [names[i] for i in picked[len(elite) :]]
        pool = to_sphere(children)
        best = victim.cost(pool, names)
    return best


def ascend(victim: Victim) -> Cost:
    """Gradient ascent on the noise and on the class embeddings of network and predictor.

    The proxy is the predicted residual of the first `horizon` steps at full width: a region whose
    residual is high is computed, and does not exit. What it led to is measured by the sampler.
    """
    config, attacker = victim.config, Attacker(victim)
    eps, labels = random_inputs(victim, config.ascents, config.seed + 1)
    return merged([attacker.attack(eps[i : i + 1], labels[i]) for i in range(config.ascents)])


class Attacker:
    """A copy of the student whose class embeddings belong to the attacker."""

    def __init__(self, victim: Victim):
        pipeline = victim.pipeline
        assert pipeline.predictor is not None
        self.config, self.grid = victim.config, victim.sampler.grid
        self.denoiser = copy.deepcopy(pipeline.denoiser)
        self.predictor = copy.deepcopy(pipeline.predictor)
        copied = Pipeline(self.denoiser, pipeline.classes, self.predictor)
        self.victim = Victim(copied, self.config, victim.budget is not None)
        self.tables = [self.denoiser.unet.conditioning.classes, self.predictor.classes]
        self.own = [table.detach().clone() for table in self.tables]

    def attack(self, eps: Tensor, label: int) -> Cost:
        """What the sampler spends on this noise [1, h, w, c] and class once both have climbed."""
        with torch.no_grad():
            for table, own in zip(self.tables, self.own, strict=True):
                table.copy_(own)
        x = eps.clone().requires_grad_(True)
        for table in self.tables:
            table.requires_grad_(True)
        optimizer = torch.optim.Adam([x, *self.tables], lr=LEARNING_RATE)
        for _ in range(self.config.ascent_steps):
            optimizer.zero_grad()
            (-self.proxy(x, label)).backward()
            optimizer.step()
            self._confine(x)
        for table in self.tables:
            table.requires_grad_(False)
        return self.victim.cost(x.detach(), [label])

    @torch.no_grad()
    def _confine(self, x: Tensor) -> None:
        """Noise back to its sphere, embeddings into a ball somewhat larger than their own."""
        x.copy_(to_sphere(x))
        for table, own in zip(self.tables, self.own, strict=True):
            radius = self.config.embedding_radius * own.norm(dim=1).max()
            table.mul_((radius / table.norm(dim=1, keepdim=True)).clamp_max(1.0))

    def proxy(self, eps: Tensor, label: int) -> Tensor:
        """Sum of the predicted log residuals over the regions of the first steps, a scalar."""
        sigmas = sampling_sigmas(self.config.num_steps, self.denoiser.arch.strided).float()
        labels, x = torch.tensor([label]), eps * sigmas[0]
        denoised, past = torch.zeros_like(x), new_past(1, self.grid)
        total, full = torch.zeros(()), torch.full((1, *self.grid), NUM_WIDTHS)
        for i in range(self.config.horizon):
            here, there = sigmas[i].expand(1), sigmas[i + 1].expand(1)
            features = region_features(
                x, denoised, here, there, past, torch.ones(1), self.denoiser.arch.sigma_data
            )
            log_errors = self.predictor(features, labels)
            total = total + log_errors[..., 0].sum()
            fresh, _ = self.denoiser(x, here, labels, sigma_next=there)
            change = pool_to_regions((fresh - denoised).square(), self.grid).mean(-1)
            past = remember(past, full, change, log_errors[..., 0])
            x, denoised = slide(x, fresh, here, there), fresh
        return total


def merged(costs: Sequence[Cost]) -> Cost:
    """Several attacks under one ceiling as one."""
    return replace(
        costs[0],
        flops=np.concatenate([cost.flops for cost in costs]),
        widths=np.concatenate([cost.widths for cost in costs]),
    )


def to_sphere(x: Tensor) -> Tensor:
    """Each picture scaled to unit mean square, where white noise lies. [b, h, w, c] -> same."""
    return x / x.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
