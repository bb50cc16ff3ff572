"""Three attackers of rising knowledge: many seeds, evolution over noise, gradient ascent."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.observation import new_past, region_features, remember
from nitrogen.model.pipeline import Pipeline
from nitrogen.model.regions import region_mse
from nitrogen.model.solvers import slide
from nitrogen.model.start import noise
from nitrogen.pipelines.bench.victim import Cost, Victim

LEARNING_RATE = 0.05  # of the ascent, for noise of unit variance


def random_inputs(victim: Victim, num: int, first: int) -> Tensor:
    """Noise [num, h, w, c] of the seeds from `first` on, as requests bring it."""
    arch, cost = victim.pipeline.arch, victim.sampler.cost
    shape = (cost.height, cost.width, arch.image_channels)
    return torch.stack([noise(first + i, shape) for i in range(num)])


def random_labels(victim: Victim, num: int, seed: int) -> list[int]:
    """Labels of that many requests."""
    classes = victim.pipeline.arch.num_classes
    return [int(label) for label in np.random.default_rng(seed).integers(0, classes, num)]


def evolve(victim: Victim, labels: Sequence[int], flops: np.ndarray) -> Cost:
    """The most expensive of the random seeds mixed and disturbed, generation by generation.

    labels, flops: of the seeds from num_seeds * seed on. Noise stays on the sphere of its own norm,
    where white noise lies, and keeps unit variance.
    """
    config = victim.config
    generator = torch.Generator().manual_seed(config.seed)
    order = np.argsort(-flops, kind="stable")[: config.population]
    first = config.seed * config.num_seeds
    pool = torch.cat([random_inputs(victim, 1, first + int(i)) for i in order])
    names = [labels[i] for i in order]
    best = victim.cost(pool, names)
    for _ in range(config.generations):
        elite = np.argsort(-best.flops, kind="stable")[: max(2, config.population // 10)]
        picked = [
            elite[int(torch.randint(len(elite), (1,), generator=generator))]
            for _ in range(len(pool))
        ]
        strength = torch.rand(len(pool), 1, 1, 1, generator=generator)
        fresh = torch.randn(pool.shape, generator=generator)
        children = (1 - strength.square()).sqrt() * pool[torch.tensor(picked)] + strength * fresh
        children[: len(elite)] = pool[torch.from_numpy(elite.copy())]
        names = [names[i] for i in elite] + [names[i] for i in picked[len(elite) :]]
        pool = to_sphere(children)
        best = victim.cost(pool, names)
    return best


class Attacker:
    """Gradient ascent on the noise and on the class embeddings of network and predictor.

    It owns a copy of the student. The proxy is the predicted residual of the first `horizon` steps
    at full width: a region whose residual is high is computed, and does not exit. What it led to is
    measured by the sampler.
    """

    def __init__(self, victim: Victim):
        pipeline = victim.pipeline
        assert pipeline.predictor is not None
        self.config, self.grid = victim.config, victim.sampler.grid
        self.denoiser = copy.deepcopy(pipeline.denoiser)
        self.predictor = copy.deepcopy(pipeline.predictor)
        copied = Pipeline(
            self.denoiser, pipeline.classes, self.predictor, pipeline.prices, pipeline.schedules,
            pipeline.relay,
        )  # fmt: skip
        self.innocent = victim  # its embeddings are its own
        self.victim = Victim(copied, self.config, victim.limit)
        self.tables = [self.denoiser.unet.conditioning.classes, self.predictor.classes]
        self.own = [table.detach().clone() for table in self.tables]

    def attack(self, eps: Tensor, label: int) -> dict[str, Cost]:
        """What the sampler spends on this noise [1, h, w, c] and class once both have climbed:
        `both`, and the climbed `noise` and `embedding` each with the other as it was."""
        x = eps.clone().requires_grad_(True)
        for table in self.tables:
            table.requires_grad_(True)
        optimizer = torch.optim.Adam([x, *self.tables], lr=LEARNING_RATE)
        for _ in range(self.config.ascent_steps):
            optimizer.zero_grad()
            (-self.proxy(x, label)).backward()
            optimizer.step()
            self._confine(x)
        for table in self.tables:
            table.requires_grad_(False)
        climbed = x.detach()
        return {
            "both": self.victim.cost(climbed, [label]),
            "embedding": self.victim.cost(eps, [label]),
            "noise": self.innocent.cost(climbed, [label]),
        }

    @torch.no_grad()
    def _confine(self, x: Tensor) -> None:
        """Noise back to its sphere, embeddings into a ball somewhat larger than their own."""
        x.copy_(to_sphere(x))
        for table, own in zip(self.tables, self.own, strict=True):
            radius = self.config.embedding_radius * own.norm(dim=1).max()
            table.mul_((radius / table.norm(dim=1, keepdim=True)).clamp_max(1.0))

    def proxy(self, eps: Tensor, label: int) -> Tensor:
        """Sum of the predicted log residuals over the regions of the first steps, a scalar."""
        order = self.victim.sampler.order(self.victim.request)
        sigmas = order.sigmas
        labels, x = torch.tensor([label]), eps * sigmas[0]
        denoised, past = torch.zeros_like(x), new_past(1, self.grid)
        total, full = torch.zeros(()), torch.full((1, *self.grid), NUM_WIDTHS)
        for i in range(min(self.config.horizon, order.late_from)):
            here, there = sigmas[i].expand(1), sigmas[i + 1].expand(1)
            features = region_features(
                x, denoised, here, there, past, torch.ones(1), self.denoiser.arch.sigma_data
            )
            log_errors = self.predictor(features, labels)
            total = total + log_errors[..., 0].sum()
            fresh, _ = self.denoiser(x, here, labels, sigma_next=there)
            change = region_mse(fresh, denoised, self.grid)
            past = remember(past, full, change, log_errors[..., 0])
            x, denoised = slide(x, fresh, here, there), fresh
        return total


def to_sphere(x: Tensor) -> Tensor:
    """Each picture scaled to unit mean square, where white noise lies. [b, h, w, c] -> same."""
    return x / x.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
