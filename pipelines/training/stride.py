"""What a strided student learns: where the teacher's own ODE lands at the end of a whole step."""

from collections.abc import Callable

import torch
from torch import Tensor

from nitrogen.kernels.blocks import one_call
from nitrogen.model.cache import empty_cache
from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.cost import CostModel
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.regions import Plan
from nitrogen.model.solvers import broadcast, heun_correct, slide

# Of the substeps. EDM's 7 would leave a step to 0 all of its way in the first substep.
RHO = 2.0

Teacher = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x, sigma [b], labels [b]) -> D


@torch.no_grad()
def stride_target(
    teacher: Teacher,
    x_t: Tensor,  # [b, h, w, c] at sigma
    sigma: Tensor,  # [b]
    sigma_next: Tensor,  # [b], 0 allowed
    labels: Tensor,  # [b]
    num_substeps: int,
) -> Tensor:
    """The D with which Euler's step lands at x(sigma_next): (x(sigma_next) - r x_t) / (1 - r).

    x(sigma_next) by Heun in `num_substeps` substeps, 2 evaluations each, evenly spaced in
    sigma^(1 / rho) (EDM, algorithm 1 and eq. 5). Returns [b, h, w, c].
    """
    x, here = x_t, sigma
    for step in range(1, num_substeps + 1):
        there = between(sigma, sigma_next, step / num_substeps)
        x, here = heun_step(teacher, x, here, there, labels), there
    ratio = broadcast(sigma_next / sigma)
    return (x - ratio * x_t) / (1 - ratio)


def heun_step(
    teacher: Teacher, x: Tensor, sigma: Tensor, sigma_next: Tensor, labels: Tensor
) -> Tensor:
    """One step of Heun from sigma to sigma_next; Euler to 0."""
    denoised = teacher(x, sigma, labels)
    x_next = slide(x, denoised, sigma, sigma_next)
    safe = torch.where(sigma_next > 0, sigma_next, sigma)  # its answer at 0 is not read
    denoised_next = teacher(x_next, safe, labels)
    return heun_correct(x, denoised, denoised_next, sigma, sigma_next, x_next)


@torch.no_grad()
def teacher_denoised(teacher: Denoiser, x: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
    """The teacher's D at full width, [b, h, w, c], over rows where that is C++.

    0.53 of the dense path's time (`small`, 64 pictures, one thread of an EPYC with AVX2, n = 8),
    and within 2e-6 of it.
    """
    if torch.is_autocast_enabled(x.device.type) or not one_call(x):
        return teacher(x, sigma, labels)[0]
    num, height, width, _ = x.shape
    cost = CostModel(teacher.arch, height, width)
    plan = Plan(torch.full((num, *cost.grid), NUM_WIDTHS))
    cache = empty_cache(teacher.arch, num, height, width)
    return teacher(x, sigma, labels, plan=plan, cache=cache)[0]


def between(sigma: Tensor, sigma_next: Tensor, share: float) -> Tensor:
    """The noise level at `share` of the way in sigma^(1 / rho); each end exactly. [b]."""
    if share == 1:
        return sigma_next
    start, end = sigma ** (1 / RHO), sigma_next ** (1 / RHO)
    return (start + share * (end - start)) ** RHO
