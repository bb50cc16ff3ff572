"""What is known before a step is computed: the input of the predictor and of every policy."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nitrogen.kernels.blocks import one_call
from nitrogen.kernels.cpu import fused
from nitrogen.kernels.dispatch import region_stats
from nitrogen.model.cost import CostModel

NUM_SCALARS = 11
EPS = 1e-8


@dataclass(frozen=True)
class Past:
    """What a sampling run remembers of its regions; all [b, rh, rw].

    change: mean squared change of D when the region was last computed; age: steps since then;
    quarters: the width it ran at (0 before the first step); log_residual: last prediction; calm:
    steps in a row whose residual was below the threshold of exits, int64.
    """

    change: Tensor
    age: Tensor
    quarters: Tensor
    log_residual: Tensor
    calm: Tensor

    def select(self, samples: Tensor) -> "Past":
        return Past(*(value[samples] for value in self._values()))

    def append(self, other: "Past") -> "Past":
        pairs = zip(self._values(), other._values(), strict=True)
        return Past(*(torch.cat(pair) for pair in pairs))

    def _values(self) -> tuple[Tensor, ...]:
        return self.change, self.age, self.quarters, self.log_residual, self.calm


def new_past(num_samples: int, grid: tuple[int, int], device: torch.device | str = "cpu") -> Past:
    """What is remembered before the first step: nothing."""
    zeros = torch.zeros(num_samples, *grid, device=device)
    none = zeros.to(torch.int64)
    return Past(zeros, zeros.clone(), none, zeros.clone(), none.clone())


def remember(
    past: Past, quarters: Tensor, change: Tensor, log_residual: Tensor | None,
    calm: Tensor | None = None,
) -> Past:  # fmt: skip
    """The past after a step that ran each region at `quarters` (0 = held); all [b, rh, rw].

    change: mean squared change of D; log_residual: of this step's prediction, if there was one;
    calm: this step included, of a policy that counts it.
    """
    computed = quarters > 0
    return Past(
        change=torch.where(computed, change, past.change),
        age=torch.where(computed, 0.0, past.age + 1),
        quarters=torch.where(computed, quarters, past.quarters),
        log_residual=past.log_residual if log_residual is None else log_residual,
        calm=past.calm if calm is None else calm,
    )


@dataclass(frozen=True)
class Observation:
    """One step of a batch, before it is computed.

    log_errors: [b, rh, rw, 5] predicted log mean squared distance of D to the teacher's, if the
    region is held (0) or computed at 1..4 quarters; None for policies without a predictor.
    budget_left: [b] FLOPs this step may use at most, all later minimal steps already set aside.
    """

    x_t: Tensor  # [b, h, w, c]
    denoised: Tensor  # [b, h, w, c], last D; zeros before the first step
    labels: Tensor  # [b]
    seeds: Tensor  # [b]
    sigma: Tensor  # [b]
    sigma_next: Tensor  # [b]
    step: Tensor  # [b], 0 at the first
    num_steps: Tensor  # [b]
    dense_from: Tensor  # [b], the step from which on all are dense; num_steps without one
    longest: int  # at least the num_steps of every sample
    past: Past
    exited: Tensor  # [b, rh, rw] bool
    budget_left: Tensor  # [b] float64 FLOPs
    branches: Tensor  # [b] forwards of this step: 1, 2 under guidance or Heun, or 4
    forwards_left: Tensor  # [b] of this step and all later ones
    cost: CostModel
    log_errors: Tensor | None = None


def region_features(
    x_t: Tensor,  # [b, h, w, c]
    denoised: Tensor,  # [b, h, w, c]
    sigma: Tensor,  # [b]
    sigma_next: Tensor,  # [b]
    past: Past,
    budget: Tensor,  # [b], share of full compute left for this step
    sigma_data: float,
) -> Tensor:
    """[b, rh, rw, NUM_SCALARS + 2 c]: scalars of each region, mean colours of x_t and of D.

    Logarithms are taken in float64, so that a sample's bits do not depend on its batch mates.
    """
    if one_call(x_t, denoised, past.change, past.log_residual):
        return fused.region_features(
            x_t, denoised, (sigma, sigma_next, budget.to(sigma.dtype)),
            (past.change, past.age, past.log_residual, past.quarters), sigma_data,
        )  # fmt: skip
    grid = (past.age.shape[1], past.age.shape[2])
    s = sigma[:, None, None, None]
    scale = (s.square() + sigma_data**2).sqrt()
    channels = x_t.shape[-1]
    stats = region_stats(denoised, x_t, grid)
    mean_d, texture, distance = stats.split((channels, 1, 1), dim=-1)
    variance = texture[..., 0] - mean_d.square().mean(-1)
    noise = distance[..., 0] / sigma.square()[:, None, None]
    mean_x = region_stats(x_t, x_t, grid)[..., :channels] / scale
    known = (past.quarters > 0).float()
    per_sample = [
        log(sigma) / 4,
        log(sigma_next.clamp_min(1e-3)) / 4,
        (sigma_next / sigma),
        budget.to(sigma.dtype),
    ]
    per_region = [
        known,
        past.age / 4,
        past.quarters / 4,
        past.log_residual / 8,
        log(past.change + EPS) / 8 * known,
        log(noise + EPS) * known,
        log(variance.clamp_min(0) + EPS) / 8 * known,
    ]
    columns = [v[:, None, None].expand(past.age.shape) for v in per_sample] + per_region
    return torch.cat([torch.stack(columns, dim=-1), mean_x, mean_d], dim=-1)


def log(x: Tensor) -> Tensor:
    return x.double().log().to(x.dtype)
