"""Noise levels of sampling."""

from dataclasses import dataclass
from math import inf, isinf

import torch
from torch import Tensor

from nitrogen.model.config import MAX_STEPS, SIGMA_MAX, ArchConfig
from nitrogen.model.errors import ModelError


@dataclass(frozen=True)
class Spacing:
    """Where levels lie from sigma_max down to sigma_min: evenly in sigma^(1 / rho) (EDM, eq. 5), in
    ln sigma for rho = inf. The first `strides` steps may be even in ln sigma down to `knee`, where
    the others begin: as in a relay."""

    sigma_min: float = 0.002
    rho: float = 7.0
    sigma_max: float = SIGMA_MAX
    strides: int = 0
    knee: float = 0.0

    def levels(self, num_levels: int) -> Tensor:
        """sigma_max ... sigma_min, [num_levels] float64; strides beyond num_levels - 1 are left."""
        if strides := min(self.strides, num_levels - 1):
            first = Spacing(self.knee, inf, self.sigma_max).levels(strides + 1)[:-1]
            rest = Spacing(self.sigma_min, self.rho, self.knee).levels(num_levels - strides)
            return torch.cat([first, rest])
        ramp = torch.linspace(0, 1, num_levels, dtype=torch.float64)
        if isinf(self.rho):
            return self.sigma_max * (self.sigma_min / self.sigma_max) ** ramp
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return (high + ramp * (low - high)) ** self.rho


KARRAS = Spacing()


def karras_sigmas(num_steps: int, spacing: Spacing = KARRAS) -> Tensor:
    """sigma_0 > ... > sigma_{n-1} > 0 = sigma_n, [n + 1] float64 (EDM, eq. 5).

    Raises ModelError for a number of steps outside 1..1000.
    """
    check_num_steps(num_steps)
    return torch.cat([spacing.levels(num_steps), torch.zeros(1)])


def sampling_sigmas(num_steps: int, arch: ArchConfig, spacing: Spacing = KARRAS) -> Tensor:
    """The noise levels of a sampling run, [n + 1] float64: EDM's, or a strided denoiser's.

    A strided denoiser goes to 0 from wherever it stands, in place of the last level, and has the
    spacing that it was trained on; `spacing` is of the others.
    """
    if not arch.strided:
        return karras_sigmas(num_steps, spacing)
    check_num_steps(num_steps)
    return torch.cat([stride_spacing(arch).levels(num_steps + 1)[:-1], torch.zeros(1)])


def stride_spacing(arch: ArchConfig) -> Spacing:
    """Of a strided denoiser: even in ln sigma down to arch.stride_sigma_min, or EDM's."""
    if arch.stride_sigma_min is None:
        return KARRAS
    return Spacing(arch.stride_sigma_min, inf)


def check_num_steps(num_steps: int) -> None:
    if not 1 <= num_steps <= MAX_STEPS:
        raise ModelError(f"num_inference_steps must be 1 to {MAX_STEPS}, got {num_steps}.")
