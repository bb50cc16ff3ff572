"""The student under attack: what it spends on the noise and labels that it is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from nitrogen.model.pipeline import Pipeline
from nitrogen.model.request import Finished, Request
from nitrogen.pipelines.bench.settings import SOLVER

BATCH = 64


class AttackConfig(BaseModel):
    """How hard the attackers try.

    threshold     of the policy without a budget; with one, of its exits
    budget        share of the FLOPs of num_steps forwards
    relay_steps, relay_budget   the same of a student with a relay, which is dearer
    num_seeds     drawn by the first attacker; its mean is what amplification is measured against
    population, generations   of evolution; children are the best tenth, mixed and disturbed
    ascents, ascent_steps     pictures and steps of gradient ascent
    horizon       denoising steps that the gradient goes through
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_steps: int = Field(12, ge=2)
    threshold: float = Field(3e-4, gt=0)
    budget: float = Field(0.5, gt=0, le=1)
    relay_steps: int = Field(6, ge=2)
    relay_budget: float = Field(0.85, gt=0, le=1)
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
    """The student under one policy and limit; answers what noise and labels cost."""

    def __init__(self, pipeline: Pipeline, config: AttackConfig, limit: str):
        self.pipeline, self.config, self.limit = pipeline, config, limit
        budgets = {"no budget": None, "budget": config.budget, "relay": config.relay_budget}
        self.budget = budgets[limit]
        self.num_steps = config.relay_steps if limit == "relay" else config.num_steps
        name = "threshold" if self.budget is None else "budget"
        policy = pipeline.policy(name, config.threshold, self.budget, self.num_steps)
        self.sampler = pipeline.sampler(policy, SOLVER)
        self.request = Request(0, 0, self.num_steps, 1.0, self.budget)

    def cost(self, eps: Tensor, labels: Sequence[int]) -> Cost:
        """eps: [n, h, w, c], the starting noise in units of the largest sigma."""
        finished: list[Finished] = []
        for start in range(0, len(eps), BATCH):
            part = slice(start, start + BATCH)
            finished += self._run(eps[part], list(labels[part]))
        longest = self.num_steps
        widths = np.zeros((len(finished), longest, *self.sampler.grid), np.uint8)
        for i, one in enumerate(finished):
            widths[i, : len(one.widths)] = one.widths.numpy()
        return Cost(np.array([f.flops for f in finished]), *self.bounds(), widths)

    def bounds(self) -> tuple[float, float]:
        """FLOPs that no request may exceed, and those of the full model."""
        ledger = self.sampler.ledger(self.request)
        return min(ledger.ceiling(self.budget), self.worst()), float(ledger.full_flops)

    def worst(self) -> float:
        """Everything at full width at every step, and the predictor: the bound without a budget."""
        per_step = self.sampler.cost.full_flops + self.sampler.planner.predictor_flops
        return float(self.num_steps * per_step)

    def _run(self, eps: Tensor, labels: list[int]) -> list[Finished]:
        requests = [replace(self.request, label=label, seed=i) for i, label in enumerate(labels)]
        state = self.sampler.start(requests)
        sigma = state.live.sigma_at(0)[:, None, None, None]
        state = replace(state, live=replace(state.live, x=eps * sigma))
        while state.live.num_samples:
            state = self.sampler.step(state)
        return sorted(state.finished, key=lambda f: f.id)
