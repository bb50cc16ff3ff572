"""The hard budget: what a request may cost, what is set aside, and how a step's share is spent."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nitrogen.kernels.blocks import one_call
from nitrogen.kernels.cpu import fused
from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.cost import CostModel
from nitrogen.model.errors import BudgetError
from nitrogen.model.regions import sigma_bin

FORCED = 1e6  # gain where a region has no D yet and cannot be held; others are below exp(4)


@dataclass(frozen=True)
class Ledger:
    """FLOPs of one request; the forwards of a step share one plan.

    budget: share of the FLOPs of the full model's forwards (of both branches under guidance).
    """

    cost: CostModel
    num_steps: int
    guided: bool
    heun: bool
    predictor_flops: int  # of one prediction; 0 for a policy without
    dense_steps: int = 0  # the last ones, at full width everywhere, set aside from the start
    strides: int | None = None  # of a relay: the others are its full model's and predict nothing

    @property
    def branches(self) -> int:
        """Forwards of a step; Heun's last one takes half of them."""
        return (2 if self.guided else 1) * (2 if self.heun else 1)

    @property
    def full_flops(self) -> int:
        """What the full model spends on the request, without a predictor."""
        evaluations = 2 * self.num_steps - 1 if self.heun else self.num_steps
        return evaluations * (2 if self.guided else 1) * self.cost.full_flops

    @property
    def minimum_flops(self) -> int:
        """The cheapest plan: everything once at the narrowest width, then held to the end, or to
        the dense steps. Every stride of a relay is run: one that is held costs more of the picture
        than the full model's steps bring (docs/LOG.md, 2026-11-27)."""
        narrow = 0 if self.dense_steps >= self.num_steps else self.strides or 1
        dense = self.dense_steps * self.dense_flops
        predicted = self.num_steps if self.strides is None else self.strides
        return predicted * self.predictor_flops + narrow * self.first_step_flops + dense

    @property
    def first_step_flops(self) -> int:
        narrow = self.cost.fixed_flops + self.cost.num_regions * self.cost.block_rows(1)
        return self.branches * narrow  # of a single Heun step, half of it: a safe excess

    @property
    def dense_flops(self) -> int:
        """What a dense step costs, 0 without one. Heun has at most one, of one evaluation."""
        forwards = self.branches // (2 if self.heun else 1)
        return forwards * self.cost.full_flops if self.dense_steps else 0

    def affords(self, budget: float) -> bool:
        """Whether the budget pays for the cheapest plan."""
        return math.isfinite(budget) and int(budget * self.full_flops) >= self.minimum_flops

    def ceiling(self, budget: float | None) -> float:
        """The budget in whole FLOPs; infinite without one.

        Raises BudgetError below the cheapest plan, naming the minimum.
        """
        if budget is None:
            return float("inf")
        if not self.affords(budget):
            share = self.minimum_flops / self.full_flops
            raise BudgetError(
                f"budget must be at least {share:.4f} of the full model's compute for "
                f"{self.num_steps} steps, got {budget}. Raise it or take fewer steps."
            )
        return float(int(budget * self.full_flops))


def concave(gain: Tensor, cost: Tensor) -> Tensor:
    """The least concave majorant of gain over cost, so that increments come best first.

    gain: [..., k], cost: [k] increasing. Returns [..., k].
    """
    count = cost.shape[0]
    best = gain.clone()
    for low in range(count):
        for high in range(low + 2, count):
            for mid in range(low + 1, high):
                share = (cost[mid] - cost[low]) / (cost[high] - cost[low])
                line = gain[..., low] + share * (gain[..., high] - gain[..., low])
                best[..., mid] = torch.maximum(best[..., mid], line)
    return best


def allocate(
    gain: Tensor, region_flops: Tensor, available: Tensor, caps: Tensor, price: float = 0.0
) -> Tensor:
    """Widths by greedy gain per FLOP: the classic bound for the multiple-choice knapsack.

    gain: [b, r, 5] over holding, region_flops: [5], available: [b] float64, caps: [b, r] the
    widest allowed, price: gain per FLOP below which nothing is bought. Returns widths [b, r] int64
    whose cost never exceeds `available`.
    """
    b, r, _ = gain.shape
    gain = gain.double()
    if one_call(caps):
        return fused.allocate(gain, region_flops, available.expand(b), caps, price)
    region_flops = region_flops.to(gain.device)
    rising = torch.cummax(torch.nan_to_num(gain, nan=0.0), dim=-1).values
    rising = concave(rising, region_flops)
    steps_flops = region_flops.diff()
    slope = rising.diff(dim=-1) / steps_flops
    steps = torch.arange(1, NUM_WIDTHS + 1, device=gain.device)
    slope = torch.where(steps <= caps[..., None], slope, -1.0)
    order = slope.reshape(b, -1).argsort(dim=1, descending=True, stable=True)
    wanted = slope.reshape(b, -1).gather(1, order) > price
    charge = steps_flops.repeat(r).expand(b, -1).gather(1, order)
    spent = torch.where(wanted, charge, 0.0).cumsum(dim=1)
    taken = torch.zeros(b, r * NUM_WIDTHS, dtype=torch.bool, device=gain.device)
    taken.scatter_(1, order, wanted & (spent <= available[:, None]))
    # A narrower increment is never sorted after a wider one of its region, but guard the prefix.
    return taken.view(b, r, NUM_WIDTHS).long().cumprod(dim=-1).sum(dim=-1)


def plan_flops(widths: Tensor, cost: CostModel, sigma: Tensor | None = None) -> Tensor:
    """FLOPs of one forward of each sample under its plan, 0 where everything is held.

    widths: [b, rh, rw]; sigma: [b], at which layer_width bounds them, no bounds without it.
    Returns [b] float64.
    """
    regions = regions_flops(widths, cost, sigma).flatten(1).sum(dim=1)
    return torch.where(regions > 0, regions + cost.fixed_flops, 0.0)


def regions_flops(widths: Tensor, cost: CostModel, sigma: Tensor | None = None) -> Tensor:
    """FLOPs of each region alone, [b, rh, rw] float64; widths and sigma as for `plan_flops`."""
    if sigma is None or not cost.arch.layer_width:
        return cost.region_flops.to(widths.device)[widths]
    place = sigma_bin(cost.arch, sigma)[:, None, None]
    return cost.bounded_flops.to(widths.device)[place, widths]
