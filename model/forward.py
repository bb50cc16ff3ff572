"""D of a batch at one step: busy samples through the network, guided ones twice, held as they were.

Every function returns new values and caches; the caches that it is given are written in place.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nitrogen.kernels.dispatch import holds
from nitrogen.model.cache import Cache
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.regions import HELD, Plan, spread_to_pixels
from nitrogen.model.request import Live


@dataclass(frozen=True)
class Levels:
    """Noise levels of a step, each [b]: where the samples stand, and where they go."""

    sigma: Tensor
    sigma_next: Tensor

    def pair(self) -> tuple[Tensor, Tensor]:
        return self.sigma, self.sigma_next

    def select(self, samples: Tensor) -> "Levels":
        return Levels(self.sigma[samples], self.sigma_next[samples])


def denoise(
    denoiser: Denoiser, live: Live, x: Tensor, levels: Levels, plan: Plan, last: Tensor,
    everyone: bool | None = None,
) -> tuple[Tensor, Cache, Cache | None]:  # fmt: skip
    """D of every sample that computes something, `last` of the others; and both caches.

    x, last: [b, h, w, c]; everyone: whether every sample computes something, None: not known. D of
    a region that is held says nothing: see keep_held.
    """
    network, picked = StepNetwork(denoiser, x, levels, plan), None
    if not everyone:
        busy = (plan.widths > HELD).flatten(1).any(dim=1)
        everyone = holds(busy.all())
        if everyone is None:
            return denoise_in_one_graph(network, live)
        picked = None if everyone else busy.nonzero().squeeze(1)
        if picked is not None and not picked.numel():
            return last, live.cache, live.cache_unlabelled
    fresh, cache = network.denoised(live.labels, live.cache, picked)
    unlabelled = live.cache_unlabelled
    if unlabelled is not None:
        samples = torch.arange(live.num_samples, device=x.device) if picked is None else picked
        fresh, unlabelled = guide(network, live, fresh, unlabelled, samples)
    full = fresh if picked is None else last.index_copy(0, picked, fresh)
    return full, cache, unlabelled


def denoise_in_one_graph(network: "StepNetwork", live: Live) -> tuple[Tensor, Cache, Cache | None]:
    """`denoise` where values must not be asked: every sample goes through the network, those that
    compute nothing with no rows, and so do those without guidance through its other branch."""
    fresh, cache = network.denoised(live.labels, live.cache, None)
    unlabelled = live.cache_unlabelled
    if unlabelled is None:
        return fresh, cache, None
    guided = live.guidance != 1
    widths = torch.where(guided[:, None, None], network.plan.widths, HELD)
    other = replace(network, plan=replace(network.plan, widths=widths))
    dropped = torch.full_like(live.labels, network.denoiser.arch.num_classes)
    bare, unlabelled = other.denoised(dropped, unlabelled, None)
    mixed = bare + live.guidance[:, None, None, None] * (fresh - bare)
    return torch.where(guided[:, None, None, None], mixed, fresh), cache, unlabelled


def keep_held(widths: Tensor, fresh: Tensor, last: Tensor) -> Tensor:
    """[b, h, w, c]: fresh where a region was computed, last where it was held."""
    return torch.where(spread_to_pixels(widths > HELD, *last.shape[1:3]), fresh, last)


@dataclass(frozen=True)
class StepNetwork:
    """A network and what all of its calls at one step share."""

    denoiser: Denoiser
    x: Tensor
    levels: Levels
    plan: Plan

    def denoised(self, labels: Tensor, cache: Cache, picked: Tensor | None) -> tuple[Tensor, Cache]:
        """D of the picked samples, all of them for None, and the cache of all of them."""
        if picked is None:
            return self._call(self.x, labels, self.levels, self.plan, cache)
        denoised, updated = self._call(
            self.x[picked], labels[picked], self.levels.select(picked), self.plan.select(picked),
            cache.select(picked),
        )  # fmt: skip
        return denoised, cache.put(picked, updated)

    def _call(
        self, x: Tensor, labels: Tensor, levels: Levels, plan: Plan, cache: Cache
    ) -> tuple[Tensor, Cache]:
        return self.denoiser(
            x, levels.sigma, labels, sigma_next=levels.sigma_next, plan=plan, cache=cache
        )


def guide(
    network: StepNetwork, live: Live, fresh: Tensor, cache: Cache, picked: Tensor
) -> tuple[Tensor, Cache]:
    """D_u + w (D_c - D_u) (Ho and Salimans 2022) for the samples with w != 1.

    fresh: D_c of the picked samples; cache: that of the branch without label.
    """
    guided = (live.guidance[picked] != 1).nonzero().squeeze(1)
    if not guided.numel():
        return fresh, cache
    samples = picked[guided]
    dropped = torch.full_like(live.labels, network.denoiser.arch.num_classes)
    bare, cache = network.denoised(dropped, cache, samples)
    weight = live.guidance[samples][:, None, None, None]
    mixed = bare + weight * (fresh[guided] - bare)
    return fresh.index_copy(0, guided, mixed), cache


def second_levels(levels: Levels, plan: Plan) -> tuple[Levels, Plan]:
    """Where Heun's second evaluation stands, and its plan: the same, and none at sigma' = 0."""
    going = levels.sigma_next > 0
    widths = torch.where(going[:, None, None], plan.widths, HELD)
    safe = torch.where(going, levels.sigma_next, torch.ones_like(levels.sigma_next))
    return Levels(safe, levels.sigma_next), replace(plan, widths=widths)
