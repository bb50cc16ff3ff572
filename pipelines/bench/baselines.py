"""Step-by-step baselines on a dense model: width schedules, DeepCache-like, TeaCache-like.

Each is a factory `(denoiser, labels, *, num_steps, ...) -> Evaluate`; `integrate` runs it under a
solver. The caches take a RowDenoiser as well, and then run by the operators of the adaptive path.
A sample whose D is reused is treated as the sampler treats a held region: its history is rewritten,
so that no solver extrapolates over it. Decisions are a sample's own, never the batch's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from einops import rearrange
from torch import Tensor

from nitrogen.kernels.norm import modulate, rms_norm
from nitrogen.model.blocks import Modulation
from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.cost import CostModel
from nitrogen.model.denoiser import Denoiser, preconditioning
from nitrogen.model.shell import Shell, refuse_strided, shell_flops
from nitrogen.model.solvers import new_history, settle, solver
from nitrogen.model.unet import modulation_sizes
from nitrogen.pipelines.bench.row_denoiser import RowDenoiser
from nitrogen.pipelines.bench.row_shell import RowShell

AnyDenoiser = Denoiser | RowDenoiser


@dataclass(frozen=True)
class Spent:
    """FLOPs and calls of the network, each [b] float64."""

    flops: Tensor
    nfe: Tensor


@dataclass(frozen=True)
class Answer:
    """denoised: [b, h, w, c]; fresh: [b] bool, False where D is the last step's; cost: [b]."""

    denoised: Tensor
    fresh: Tensor
    cost: Spent


# (step, x, (sigma, sigma_next) each [b], last D)
Evaluate = Callable[[int, Tensor, tuple[Tensor, Tensor], Tensor], Answer]


@torch.no_grad()
def integrate(evaluate: Evaluate, eps: Tensor, sigmas: Tensor, name: str) -> tuple[Tensor, Spent]:
    """x_0 [b, h, w, c] from unit noise, and what was spent. sigmas: [n + 1]."""
    advance, num = solver(name), eps.shape[0]
    x = eps * sigmas[0].to(eps)
    denoised, history = torch.zeros_like(x), new_history(x)
    flops = torch.zeros(num, dtype=torch.float64)
    nfe = flops.clone()
    for step, (sigma, after) in enumerate(pairwise(sigmas)):
        here, there = sigma.to(eps).expand(num), after.to(eps).expand(num)
        answer = evaluate(step, x, (here, there), denoised)
        denoised = answer.denoised
        flops, nfe = flops + answer.cost.flops, nfe + answer.cost.nfe
        if not bool(answer.fresh.all()):
            held = ~answer.fresh[:, None, None, None].expand(*x.shape[:3], 1)
            history = settle(history, x, denoised, here, held)
        x, history = advance(x, denoised, here, there, history)
    return x, Spent(flops, nfe)


def scheduled(
    denoiser: Denoiser, labels: Tensor, *, num_steps: int, widths: Sequence[int]
) -> Evaluate:
    """One width a step for everything, in quarters; 0 keeps the last D (BudCache-like)."""
    assert len(widths) == num_steps, "a schedule has a width for every step"
    assert widths[0] > 0, "the first step has no D to keep"
    cost = cost_of(denoiser)
    price = [0.0] + [
        cost.fixed_flops + cost.num_regions * float(cost.region_flops[q])
        for q in range(1, NUM_WIDTHS + 1)
    ]

    def evaluate(step: int, x: Tensor, levels: tuple[Tensor, Tensor], last: Tensor) -> Answer:
        quarters, num = widths[step], x.shape[0]
        denoised = last
        if quarters:
            sigma, after = levels
            denoised, _ = denoiser(x, sigma, labels, sigma_next=after, quarters=quarters)
        return uniform(denoised, num, price[quarters], bool(quarters))

    return evaluate


def deep_cache(denoiser: AnyDenoiser, labels: Tensor, *, num_steps: int, interval: int) -> Evaluate:
    """The whole network every `interval` steps, its finest level alone between (DeepCache)."""
    shell: RowShell | Shell
    shell = RowShell(denoiser) if isinstance(denoiser, RowDenoiser) else Shell(denoiser)
    cost = cost_of(denoiser)
    outer = shell_flops(cost)
    kept: list[Tensor | None] = [None]

    def evaluate(step: int, x: Tensor, levels: tuple[Tensor, Tensor], last: Tensor) -> Answer:
        whole = step % interval == 0
        denoised, kept[0] = shell(x, levels[0], labels, None if whole else kept[0])
        return uniform(denoised, x.shape[0], cost.full_flops if whole else outer, True)

    return evaluate


def tea_cache(
    denoiser: AnyDenoiser, labels: Tensor, *, num_steps: int, threshold: float
) -> Evaluate:
    """D is kept until the summed relative change of the first modulated features passes a bound.

    TeaCache (Liu et al. 2025) without its fitted polynomial, which the choice of the bound takes
    the place of; the first and the last step are always computed.
    """
    cost, features = cost_of(denoiser), FirstFeatures(denoiser)
    num = labels.shape[0]
    state: dict[str, Tensor] = {"drift": torch.zeros(num)}

    def evaluate(step: int, x: Tensor, levels: tuple[Tensor, Tensor], last: Tensor) -> Answer:
        sigma, _ = levels
        now = features(x, sigma, labels)
        if step == 0:
            due = torch.ones(num, dtype=torch.bool)
        else:
            change = (now - state["before"]).abs().mean(dim=(1, 2, 3))
            drift = state["drift"] + change / state["before"].abs().mean(dim=(1, 2, 3))
            due = (drift >= threshold) | (step == num_steps - 1)
            state["drift"] = drift
        state["before"] = now
        state["drift"] = torch.where(due, 0.0, state["drift"])
        denoised, picked = last, due.nonzero().squeeze(1)
        if picked.numel() == num:
            denoised, _ = denoiser(x, sigma, labels)
        elif picked.numel():
            fresh, _ = denoiser(x[picked], sigma[picked], labels[picked])
            denoised = last.index_copy(0, picked, fresh)
        flops = features.flops + torch.where(due, float(cost.full_flops), 0.0).double()
        return Answer(denoised, due, Spent(flops, due.double()))

    return evaluate


class FirstFeatures:
    """What enters the first block: the stem's rows, normed and modulated by (sigma, class)."""

    def __init__(self, denoiser: AnyDenoiser):
        self.by_rows = isinstance(denoiser, RowDenoiser)
        self.dense = denoiser.dense if isinstance(denoiser, RowDenoiser) else denoiser
        refuse_strided(self.dense, "first features")
        arch, cost = denoiser.arch, cost_of(denoiser)
        patch_channels = arch.image_channels * arch.patch_size**2
        stem = 2 * cost.rows(0) * patch_channels * arch.channels[0]
        self.flops = float(stem + cost.conditioning_flops)

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
        """[b, h / p, w / p, channels[0]]."""
        net, arch, patch = self.dense.unet, self.dense.arch, self.dense.arch.patch_size
        _, _, c_in, c_noise = preconditioning(sigma, arch.sigma_data)
        modulations = net.conditioning(c_noise, labels, blocked=self.by_rows)
        first = Modulation(modulations.split(modulation_sizes(arch), 1)[0])
        rows = rearrange(c_in * x, "b (h p) (w q) c -> b h w (p q c)", p=patch, q=patch)
        return modulate(
            rms_norm(net.stem(rows)), first.shift[:, None, None], first.scale[:, None, None]
        )


def uniform(denoised: Tensor, num: int, flops: float, fresh: bool) -> Answer:
    """The same cost and freshness for every sample."""
    made = torch.full((num,), float(fresh), dtype=torch.float64)
    spent = torch.full((num,), float(flops), dtype=torch.float64)
    return Answer(denoised, made > 0, Spent(spent, made))


def cost_of(denoiser: AnyDenoiser) -> CostModel:
    side = denoiser.arch.image_size
    return CostModel(denoiser.arch, side, side)
