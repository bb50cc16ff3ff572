"""DeepCache's shell of the U-Net by the row operators: see model/shell.py for what it is."""

from __future__ import annotations

import torch
from torch import Tensor

from nitrogen.model.denoiser import preconditioning
from nitrogen.model.row_denoiser import RowDenoiser
from nitrogen.model.shell import refuse_strided
from nitrogen.model.unet import FusedLayers, Layers, RowRun, modulation_sizes


class RowShell:
    """A dense denoiser, everything by rows, that can leave all below its finest level out."""

    def __init__(self, denoiser: RowDenoiser):
        refuse_strided(denoiser.dense, "a shell")
        self.denoiser, self.arch, self.net = denoiser, denoiser.arch, denoiser.dense.unet

    @torch.no_grad()
    def __call__(
        self,
        x_t: Tensor,  # [b, h, w, c]
        sigma: Tensor,  # [b]
        labels: Tensor,  # [b]
        deep: Tensor | None = None,  # [b, h / p, w / p, channels[0]] of an earlier step
    ) -> tuple[Tensor, Tensor]:
        """D [b, h, w, c] and the deep feature: the one given, or a new one by the whole network."""
        c_skip, c_out, c_in, c_noise = preconditioning(sigma, self.arch.sigma_data)
        modulations = self.net.conditioning(c_noise, labels, blocked=True)
        parts = list(modulations.split(modulation_sizes(self.arch), dim=1))
        shift, scale = parts.pop().chunk(2, dim=1)
        plan, cache = self.denoiser.plan_for(x_t), self.denoiser.cache_for(x_t)
        run = Skipping(self.net, parts, plan, cache)
        between = self.net.between(x_t, blocked=True)
        outer = self.arch.num_blocks[0]
        x = run.level(between.stem(c_in * x_t), 0, outer)
        if deep is None:
            below = self._below(run, between, x, 1)
            deep = between.up(below, 0, torch.zeros_like(x))
        else:
            run.skip(len(self.arch.blocks()) - 2 * outer)
        raw = between.head(run.level(deep + x, 0, outer), shift, scale)
        return c_skip * x_t + c_out * raw, deep

    def _below(self, run: RowRun, between: Layers | FusedLayers, x: Tensor, level: int) -> Tensor:
        """What leaves `level` upwards, given what left the level above it: [b, h/2, w/2, c]."""
        count = self.arch.num_blocks[level]
        x = run.level(between.down(x, level - 1), level, count)
        if level == self.arch.num_levels - 1:
            return x
        x = between.up(self._below(run, between, x, level + 1), level, x)
        return run.level(x, level, count)


class Skipping(RowRun):
    """A forward over rows that can pass blocks over."""

    def skip(self, num_blocks: int) -> None:
        """The next blocks in order of execution are not run."""
        for _ in range(num_blocks):
            _, attends = next(self._order)
            if attends:
                next(self._attentions), next(self._old_attention), next(self._modulations)
            next(self._blocks), next(self._old_residuals), next(self._modulations)
