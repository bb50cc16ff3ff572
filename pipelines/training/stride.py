"""What a strided student learns: where the teacher's own ODE lands at the end of a whole step."""

from collections.abc import Callable

import torch
from torch import Tensor

from nitrogen.model.solvers import broadcast, dpmpp_2m, new_history

# Of the substeps. EDM's 7 would leave a step to 0 all of its way in the first substep. Of 2, 3
# and 5 the one with the least error of whole runs by these targets (docs/LOG.md, 2026-11-26).
RHO = 3.0

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

    x(sigma_next) by DPM-Solver++(2M) in `num_substeps` substeps, an evaluation each, evenly spaced
    in sigma^(1 / rho). Six of them leave a quarter to a third of the error of three by Heun, which
    evaluate as often (docs/LOG.md, 2026-11-26). Returns [b, h, w, c].
    """
    x, here, history = x_t, sigma, new_history(x_t)
    for step in range(1, num_substeps + 1):
        there = between(sigma, sigma_next, step / num_substeps)
        x, history = dpmpp_2m(x, teacher(x, here, labels), here, there, history)
        here = there
    ratio = broadcast(sigma_next / sigma)
    return (x - ratio * x_t) / (1 - ratio)


def between(sigma: Tensor, sigma_next: Tensor, share: float) -> Tensor:
    """The noise level at `share` of the way in sigma^(1 / rho); each end exactly. [b]."""
    if share == 1:
        return sigma_next
    start, end = sigma ** (1 / RHO), sigma_next ** (1 / RHO)
    return (start + share * (end - start)) ** RHO
