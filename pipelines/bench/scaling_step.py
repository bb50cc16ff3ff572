"""One denoising step of one size and batch: the teacher's, and the adaptive one beside it.

Teacher and adaptive path run on the same network with random weights (time does not depend on them)
and by the same operators; the dense path of plain PyTorch stands beside the teacher's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from nitrogen.model.cache import Cache, empty_cache
from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.cost import CostModel
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.observation import new_past, region_features
from nitrogen.model.predictor import Predictor, predictor_flops
from nitrogen.model.regions import HELD, Plan
from nitrogen.pipelines.bench.row_denoiser import RowDenoiser


@dataclass(frozen=True)
class Step:
    """One step of every path on the same pictures."""

    denoiser: Denoiser
    predictor: Predictor
    x: torch.Tensor  # [b, size, size, c]
    cache: Cache
    plan: Plan

    @classmethod
    def of(
        cls, denoiser: Denoiser, predictor: Predictor, size: int, batch: int, active_share: float
    ) -> Step:
        arch = denoiser.arch
        cost = CostModel(arch, size, size)
        x = torch.randn(batch, size, size, arch.image_channels)
        plan = spread_plan(batch, cost.grid, active_share)
        return cls(denoiser, predictor, x, empty_cache(arch, batch, size, size), plan)

    def paths(self) -> dict[str, Callable[[], torch.Tensor]]:
        return {
            "teacher": self.teacher, "teacher_torch": self.teacher_torch, "adaptive": self.adaptive,
        }  # fmt: skip

    @property
    def cost(self) -> CostModel:
        return CostModel(self.denoiser.arch, self.x.shape[1], self.x.shape[2])

    @property
    def labels(self) -> torch.Tensor:
        return torch.zeros(len(self.x), dtype=torch.int64)

    def teacher(self) -> torch.Tensor:
        """Everything at full width, by the row operators."""
        return RowDenoiser(self.denoiser, self.cache)(self.x, torch.ones(len(self.x)), self.labels)[
            0
        ]

    @torch.no_grad()
    def teacher_torch(self) -> torch.Tensor:
        """The dense path of plain PyTorch."""
        return self.denoiser(self.x, torch.ones(len(self.x)), self.labels)[0]

    @torch.no_grad()
    def adaptive(self) -> torch.Tensor:
        """The predictor's answer, then the network on the active regions."""
        sigma, b = torch.ones(len(self.x)), len(self.x)
        features = region_features(
            self.x, self.x, sigma, sigma / 2, new_past(b, self.cost.grid), torch.ones(b),
            self.denoiser.arch.sigma_data,
        )  # fmt: skip
        self.predictor(features, self.labels)
        out, _ = self.denoiser(self.x, sigma, self.labels, plan=self.plan, cache=self.cache)
        return out

    @property
    def cache_bytes(self) -> int:
        return sum(part.numel() * part.element_size() for part in self.cache.maps())

    def flops(self) -> tuple[int, int]:
        """Of one picture: the teacher's step, and the adaptive one with its predictor."""
        cost = self.cost
        regions = int(cost.region_flops[self.plan.widths[0]].sum())
        predicted = predictor_flops(cost.arch, cost.num_regions)
        return cost.full_flops, cost.fixed_flops + regions + predicted


def spread_plan(batch: int, grid: tuple[int, int], share: float) -> Plan:
    """A share of the regions at full width, evenly spread; the others held: what exits leave."""
    num = grid[0] * grid[1]
    at = np.floor(np.arange(num) * share + 1e-9)
    active = torch.from_numpy(np.diff(at, prepend=-1.0) > 0)
    widths = torch.where(active, NUM_WIDTHS, HELD).view(1, *grid)
    return Plan(widths.expand(batch, -1, -1).contiguous())
