"""A denoiser over the whole map by the row operators: the dense network's answers, sooner.

For what is computed densely and has no sampler of its own: caches on the teacher, and the teacher's
own answers that distillation, oracles and calibration ask for.
"""

import torch
from torch import Tensor

from nitrogen.kernels.blocks import one_call
from nitrogen.model.cache import Cache, empty_cache
from nitrogen.model.config import NUM_WIDTHS, ArchConfig
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.regions import Plan, full_plan, region_grid


class RowDenoiser:
    """Called as a Denoiser is; nothing is held, so nothing of its cache is ever read.

    0.53 of the dense path's time (`small`, 64 pictures, one thread of an EPYC with AVX2, n = 8,
    a new cache for each), and within 2e-6 of it.
    """

    def __init__(
        self,
        dense: Denoiser,
        cache: Cache | None = None,  # to write into; made anew for a batch that it does not fit
        *,
        bounded: bool = False,  # by arch.layer_width, as a sampler runs it; the dense path is not
        cpp_only: bool = False,  # the dense path where rows are not C++: on a GPU, under autocast
    ):
        self.dense, self._cache = dense, cache
        self._bounded, self._cpp_only = bounded, cpp_only

    @property
    def arch(self) -> ArchConfig:
        return self.dense.arch

    @torch.no_grad()
    def __call__(
        self,
        x_t: Tensor,  # [b, h, w, c]
        sigma: Tensor,  # [b]
        labels: Tensor,  # [b]
        *,
        sigma_next: Tensor | None = None,  # [b], of a strided one
        quarters: int = NUM_WIDTHS,
    ) -> tuple[Tensor, None]:
        """D [b, h, w, c], and no cache: nothing of this call is needed by the next."""
        if self._cpp_only and not one_call(x_t):
            denoised, _ = self.dense(x_t, sigma, labels, sigma_next=sigma_next, quarters=quarters)
            return denoised, None
        plan = self.plan_for(x_t, quarters)
        plan = Plan(plan.widths) if self._bounded else plan
        denoised, _ = self.dense(
            x_t, sigma, labels, sigma_next=sigma_next, plan=plan, cache=self.cache_for(x_t)
        )
        return denoised, None

    def plan_for(self, x_t: Tensor, quarters: int = NUM_WIDTHS) -> Plan:
        """Everything of x_t [b, h, w, c] at one width, at every level."""
        num, height, width, _ = x_t.shape
        grid = region_grid(self.arch, height, width)
        return full_plan(num, grid, self.arch.num_levels, quarters, x_t.device)

    def cache_for(self, x_t: Tensor) -> Cache:
        """Maps to write into, of the shape and device of x_t: the last call's where they fit."""
        num, height, width, _ = x_t.shape
        shape = (num, height // self.arch.patch_size, width // self.arch.patch_size)
        kept = self._cache
        if (
            kept is None
            or kept.residuals[0].shape[:3] != shape
            or kept.residuals[0].device != x_t.device
        ):
            kept = self._cache = empty_cache(self.arch, num, height, width, device=x_t.device)
        return kept
