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
    check_num_steps(num_steps)
    return torch.cat([karras_levels(num_steps, sigma_min, sigma_max, rho), torch.zeros(1)])


def sampling_sigmas(num_steps: int, strided: bool) -> Tensor:
    """The noise levels of a sampling run, [n + 1] float64: EDM's, or a strided denoiser's.

    A strided denoiser goes to 0 from wherever it stands: it does not stop at sigma_min first.
    """
    if not strided:
        return karras_sigmas(num_steps)
    check_num_steps(num_steps)
    levels = karras_levels(num_steps + 1, SIGMA_MIN, SIGMA_MAX, RHO)[:-1]
    return torch.cat([levels, torch.zeros(1)])


def karras_levels(num_levels: int, sigma_min: float, sigma_max: float, rho: float) -> Tensor:
    """sigma_max ... sigma_min, evenly spaced in sigma^(1 / rho), [n] float64."""
    ramp = torch.linspace(0, 1, num_levels, dtype=torch.float64)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return (high + ramp * (low - high)) ** rho


def check_num_steps(num_steps: int) -> None:
    if not 1 <= num_steps <= MAX_STEPS:
        raise ModelError(f"num_inference_steps must be 1 to {MAX_STEPS}, got {num_steps}.")
