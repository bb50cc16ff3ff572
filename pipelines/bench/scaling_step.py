"""One denoising step of one size and batch: the teacher's, and the adaptive one beside it.

Teacher and adaptive path run on the same network with random weights (time does not depend on them)
and by the same operators; the dense path of plain PyTorch stands beside the teacher's. The adaptive
step is the sampler's own: features, predictor, plan under a budget, network, solver.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from nitrogen.model.cache import Cache
from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.cost import CostModel
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.planning import StepPlan
from nitrogen.model.policies import Budget
from nitrogen.model.predictor import LOG_RANGE, Predictor
from nitrogen.model.regions import HELD, Plan
from nitrogen.model.request import Live, Request, SamplerState
from nitrogen.model.row_denoiser import RowDenoiser
from nitrogen.model.sampler import Sampler

NUM_STEPS = 100  # of the pictures whose third step is made: far from either end


@dataclass(frozen=True)
class Step:
    """One step of every path on the same pictures; the adaptive one from the same state each time,
    with the same plan, for no plan reads the caches."""

    sampler: Sampler
    state: SamplerState

    @classmethod
    def of(
        cls, denoiser: Denoiser, predictor: Predictor, size: int, batch: int, active_share: float
    ) -> Step:
        """The third step, the first when a region may be held and the solver is of second order;
        its budget pays for that share of the regions at full width."""
        sampler = Sampler(
            denoiser, Budget(), predictor=all_or_nothing(predictor), image_size=(size, size)
        )
        requests = [Request(0, seed, NUM_STEPS) for seed in range(batch)]
        state = sampler.step(sampler.step(sampler.start(requests)))
        live = paying_for(state.live, sampler, active_share)
        return cls(sampler, replace(state, live=live))

    def paths(self) -> dict[str, Callable[[], object]]:
        return {
            "teacher": self.teacher, "teacher_torch": self.teacher_torch, "adaptive": self.adaptive,
        }  # fmt: skip

    @property
    def x(self) -> torch.Tensor:
        """[b, size, size, c]"""
        return self.state.live.x

    @property
    def cache(self) -> Cache:
        return self.state.live.cache

    @property
    def cost(self) -> CostModel:
        return self.sampler.cost

    def teacher(self) -> torch.Tensor:
        """Everything at full width, by the row operators."""
        rows = RowDenoiser(self.sampler.denoiser, self.cache)
        return rows(self.x, torch.ones(len(self.x)), self.state.live.labels)[0]

    @torch.no_grad()
    def teacher_torch(self) -> torch.Tensor:
        """The dense path of plain PyTorch."""
        denoiser = self.sampler.denoiser
        return denoiser(self.x, torch.ones(len(self.x)), self.state.live.labels)[0]

    def adaptive(self) -> SamplerState:
        """A whole step of the sampler."""
        return self.sampler.step(self.state)

    @torch.no_grad()
    def planning(self) -> StepPlan:
        """The part of the adaptive step before the network: features, predictor, budget, widths."""
        return self.sampler.planner.plan(self.state.live)

    @property
    def cache_bytes(self) -> int:
        return sum(part.numel() * part.element_size() for part in self.cache.maps())

    def flops(self) -> tuple[int, int]:
        """Of one picture: the teacher's step, and the adaptive one with its predictor."""
        return self.cost.full_flops, int(self.planning().flops[0])


def all_or_nothing(predictor: Predictor) -> Predictor:
    """A copy that says of every region that only full width is worth anything, and of each another
    gain: the budget goes to the best regions at full width, and the others are held."""
    made = copy.deepcopy(predictor)
    with torch.no_grad():
        made.widths.weight.zero_()
        made.widths.bias.fill_(LOG_RANGE[1])
        made.widths.bias[-1] = LOG_RANGE[0]
    return made


def paying_for(live: Live, sampler: Sampler, share: float) -> Live:
    """The batch with ceilings at which an equal share for each step that is left is the price of
    that share of the regions at full width."""
    cost, predicted = sampler.cost, sampler.planner.predictor_flops
    regions = int(share * cost.num_regions + 1e-9)
    forward = cost.fixed_flops + regions * cost.block_rows(NUM_WIDTHS) + 1  # 1: a rounding
    left = (live.num_steps - live.step).double()
    return replace(live, ceiling=live.spent + left * (predicted + forward))


def spread_plan(batch: int, grid: tuple[int, int], share: float) -> Plan:
    """A share of the regions at full width, evenly spread; the others held: what exits leave."""
    num = grid[0] * grid[1]
    at = np.floor(np.arange(num) * share + 1e-9)
    active = torch.from_numpy(np.diff(at, prepend=-1.0) > 0)
    widths = torch.where(active, NUM_WIDTHS, HELD).view(1, *grid)
    return Plan(widths.expand(batch, -1, -1).contiguous())
