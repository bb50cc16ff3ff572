"""Short roll-outs of the student: what it stands on in training is what it meets in sampling.

Some plans are drawn at random, so that every width and every staleness is seen; the others are the
policy's own, under a budget drawn uniformly, so that one student is a continuous dial.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nitrogen.model.cache import Cache, empty_cache
from nitrogen.model.config import NUM_WIDTHS, ArchConfig
from nitrogen.model.cost import CostModel
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.leg import Leg
from nitrogen.model.observation import Past, new_past, region_features, remember
from nitrogen.model.predictor import Predictor, gains
from nitrogen.model.regions import HELD, Plan, region_mse, spread_to_pixels
from nitrogen.model.schedules import sampling_sigmas
from nitrogen.model.solvers import slide
from nitrogen.model.spending import room_for_regions, widths_for

MAX_STEPS = 2  # of a roll-out
RELAY_SHARE = 0.5  # of the samples of a student with a relay, where a leg is long enough
WIDTH_SHARES = (0.5, 0.75, 0.85)  # of random widths up to 1/4, 2/4, 3/4: narrow more often


@dataclass(frozen=True)
class RollOut:
    """Where the student stands after its first steps, all [b, ...], without gradients."""

    x_t: Tensor
    denoised: Tensor  # last D
    sigma: Tensor
    sigma_next: Tensor
    past: Past
    cache: Cache
    budget: Tensor  # share of full compute for each step


@dataclass(frozen=True)
class Explorer:
    """Rolls the student out; holds what it needs for that and nothing that changes."""

    denoiser: Denoiser
    predictor: Predictor
    cost: CostModel
    num_steps: tuple[int, ...]  # sigma grids
    held_share: float  # of the regions in random plans
    max_steps: int = MAX_STEPS  # of a roll-out
    legs: Sequence[Leg] = ()  # of a relay: up to half of the samples stand before its strides

    @torch.no_grad()
    def roll_out(
        self, x_0: Tensor, labels: Tensor, generator: torch.Generator, on_policy: float
    ) -> RollOut:
        """None, one or two student steps from x_0 + sigma eps; on_policy: share of the samples
        whose plans are the policy's."""
        num, device = x_0.shape[0], x_0.device
        sigmas = draw_sigmas(num, self.num_steps, self.denoiser.arch, generator)
        steps = None
        if self.legs:
            steps = self._draw_steps(generator)
            strides = draw_strides(num, self.legs, steps, generator)
            on_leg = torch.rand(num, generator=generator) < RELAY_SHARE
            sigmas = sigmas if strides is None else torch.where(on_leg[:, None], strides, sigmas)
        sigmas = sigmas.to(device)
        eps = torch.randn(x_0.shape, generator=generator).to(device)
        x_t = x_0 + sigmas[:, 0, None, None, None] * eps
        state = RollOut(
            x_t, torch.zeros_like(x_t), sigmas[:, 0], sigmas[:, 1],
            new_past(num, self.cost.grid, device),
            empty_cache(self.denoiser.arch, num, self.cost.height, self.cost.width, device),
            torch.rand(num, generator=generator).to(device),
        )  # fmt: skip
        # Drawn last without a relay: a seed means the same training as before there were any.
        for step in range(self._draw_steps(generator) if steps is None else steps):
            state = self._advance(state, sigmas[:, step + 2], labels, generator, on_policy)
        return state

    def _draw_steps(self, generator: torch.Generator) -> int:
        return int(torch.randint(0, self.max_steps + 1, (1,), generator=generator))

    def _advance(
        self, state: RollOut, sigma_after: Tensor, labels: Tensor, generator: torch.Generator,
        on_policy: float,
    ) -> RollOut:  # fmt: skip
        log_errors = self.log_errors(state, labels)
        plan = self.plan(state, log_errors, generator, on_policy)
        fresh, cache = self.denoiser(
            state.x_t, state.sigma, labels, sigma_next=state.sigma_next, plan=plan,
            cache=state.cache,
        )  # fmt: skip
        active = spread_to_pixels(plan.widths > HELD, self.cost.height, self.cost.width)
        change = region_mse(fresh, state.denoised, self.cost.grid)
        denoised = torch.where(active, fresh, state.denoised)
        return RollOut(
            slide(state.x_t, denoised, state.sigma, state.sigma_next), denoised,
            state.sigma_next, sigma_after,
            remember(state.past, plan.widths, change, log_errors[..., HELD]), cache, state.budget,
        )  # fmt: skip

    def log_errors(self, state: RollOut, labels: Tensor) -> Tensor:
        """The predictor's answer, [b, rh, rw, 5]."""
        features = region_features(
            state.x_t, state.denoised, state.sigma, state.sigma_next, state.past, state.budget,
            self.denoiser.arch.sigma_data,
        )  # fmt: skip
        return self.predictor(features, labels)

    def plan(
        self, state: RollOut, log_errors: Tensor, generator: torch.Generator, on_policy: float
    ) -> Plan:
        """Random for some samples, the policy's for the others; at a first step nothing is held."""
        first = bool((state.past.quarters == HELD).any())
        widths = random_widths(
            state.past.quarters.shape, generator, 0.0 if first else self.held_share
        ).to(log_errors.device)
        if on_policy == 0:
            return Plan(widths)
        own = torch.rand(len(widths), generator=generator).to(log_errors.device) < on_policy
        gain = gains(log_errors.detach(), state.sigma, state.sigma_next)
        chosen = policy_widths(gain, state.past, state.budget, self.cost)
        return Plan(torch.where(own[:, None, None], chosen, widths))


def renoised(state: RollOut, x_0: Tensor, generator: torch.Generator) -> RollOut:
    """The same state, its x_t made anew from x_0: a roll-out's own noise tells too much of it."""
    eps = torch.randn(x_0.shape, generator=generator).to(x_0.device)
    return replace(state, x_t=x_0 + state.sigma[:, None, None, None] * eps)


def draw_sigmas(
    num: int, num_steps: tuple[int, ...], arch: ArchConfig, generator: torch.Generator
) -> Tensor:
    """[num, 4] neighbours on sampling grids of random length; the last may be 0."""
    grids = [sampling_sigmas(n, arch).float() for n in num_steps]
    which = torch.randint(len(grids), (num,), generator=generator).tolist()
    where = torch.rand(num, generator=generator).tolist()
    picked = []
    for index, share in zip(which, where, strict=True):
        grid = grids[index]
        start = int(share * (len(grid) - MAX_STEPS - 1))
        picked.append(grid[start : start + MAX_STEPS + 2])
    return torch.stack(picked)


def draw_strides(
    num: int, legs: Sequence[Leg], num_steps: int, generator: torch.Generator
) -> Tensor | None:
    """[num, 4] neighbours on a relay's legs that stand before a stride after `num_steps` of them;
    None where no leg has so many. Of those that have, every leg as often, and of it every stride
    that lies so far behind the first."""
    legs = [leg for leg in legs if leg.early > num_steps]
    if not legs:
        return None
    # Behind the strides lies what a stride does not look at; long enough for every window.
    grids = [leg.sigmas(leg.early + MAX_STEPS + 1).float() for leg in legs]
    which = torch.randint(len(legs), (num,), generator=generator).tolist()
    where = torch.rand(num, generator=generator).tolist()
    picked = []
    for index, share in zip(which, where, strict=True):
        start = int(share * (legs[index].early - num_steps))
        picked.append(grids[index][start : start + MAX_STEPS + 2])
    return torch.stack(picked)


def random_widths(shape: torch.Size, generator: torch.Generator, held_share: float) -> Tensor:
    """int64 quarters of that shape, narrow more often than full, as the policies will have it."""
    drawn = torch.rand(shape, generator=generator)
    quarters = 1 + sum((drawn > share).long() for share in WIDTH_SHARES)
    held = torch.rand(shape, generator=generator) < held_share
    return torch.where(held, HELD, quarters)


def policy_widths(gain: Tensor, past: Past, budget: Tensor, cost: CostModel) -> Tensor:
    """What the `budget` policy computes with this share of full compute for the step.

    gain: [b, rh, rw, 5], budget: [b]. Returns int64 quarters [b, rh, rw]; a region without a D is
    never held.
    """
    first = (past.quarters == HELD).flatten(1).any(dim=1)
    room = room_for_regions(budget.double() * cost.full_flops, cost, first)
    caps = torch.full(gain.shape[:-1], NUM_WIDTHS, device=gain.device)
    return widths_for(gain, past, caps, cost, room)
