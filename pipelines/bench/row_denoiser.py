"""A denoiser over the whole map by the row operators: the dense network's answers, sooner.

For what is computed densely and has no sampler of its own: caches on the teacher, and the teacher's
own answers that oracles and calibration ask for.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nitrogen.model.cache import Cache, empty_cache
from nitrogen.model.config import NUM_WIDTHS, ArchConfig
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.regions import Plan, region_grid


class RowDenoiser:
    """Called as a Denoiser is; nothing is held, so nothing of its cache is ever read."""

    def __init__(self, dense: Denoiser, cache: Cache | None = None):
        """cache: one to write into, of the batch to come; made anew where it does not fit."""
        self.dense, self._cache = dense, cache

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
        num, height, width, _ = x_t.shape
        grid = region_grid(self.arch, height, width)
        plan = Plan(torch.full((num, *grid), quarters, device=x_t.device))
        # Of the batch's shape; written over and over, never read.
        shape = (num, height // self.arch.patch_size, width // self.arch.patch_size)
        if self._cache is None or self._cache.residuals[0].shape[:3] != shape:
            self._cache = empty_cache(self.arch, num, height, width, device=x_t.device)
        denoised, _ = self.dense(
            x_t, sigma, labels, sigma_next=sigma_next, plan=plan, cache=self._cache
        )
        return denoised, None
