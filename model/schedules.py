"""Noise levels of sampling."""

import torch
from torch import Tensor

from nitrogen.model.errors import ModelError

SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 80.0, 7.0
MAX_STEPS = 1000


def karras_sigmas(
    num_steps: int, sigma_min: float = SIGMA_MIN, sigma_max: float = SIGMA_MAX, rho: float = RHO
) -> Tensor:
    """sigma_0 > ... > sigma_{n-1} > 0 = sigma_n, [n + 1] float64 (EDM, eq. 5).

    Raises ModelError for a number of steps outside 1..1000.
    """
    if not 1 <= num_steps <= MAX_STEPS:
        raise ModelError(f"num_inference_steps must be 1 to {MAX_STEPS}, got {num_steps}.")
    ramp = torch.linspace(0, 1, num_steps, dtype=torch.float64)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    sigmas = (high + ramp * (low - high)) ** rho
    return torch.cat([sigmas, sigmas.new_zeros(1)])
