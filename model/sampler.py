"""The stepwise sampler: `state = start(requests)`, then `state = step(state)` until none is live.

Samples of one batch may stand at different sigmas with different plans, budgets and guidance; the
rows of all of them go through one network call. A sample's result does not depend on its batch
mates, bit for bit, on one machine, build and thread count.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nitrogen.kernels.dispatch import ode_exit, region_stats
from nitrogen.model.budget import Ledger, plan_flops
from nitrogen.model.cache import empty_cache
from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.cost import CostModel
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.errors import ShapeError
from nitrogen.model.fallback import mended, stand_in
from nitrogen.model.forward import Levels, denoise, second_levels
from nitrogen.model.observation import Observation, new_past, region_features, remember
from nitrogen.model.policies import Decision, Policy, Static
from nitrogen.model.predictor import Predictor, predictor_flops
from nitrogen.model.regions import HELD, Plan, level_caps, spread_to_pixels
from nitrogen.model.request import Finished, Live, Request, SamplerState, check_request
from nitrogen.model.schedules import sampling_sigmas
from nitrogen.model.solvers import (
    History,
    dpmpp_2m,
    heun_correct,
    new_history,
    settle,
    solver,
    solver_for,
)
from nitrogen.model.spending import within_room

BATCH_PIXELS = 1 << 17  # of one network call; larger requests run in several batches


class Sampler:
    """Advances requests of one picture size under one policy and one solver."""

    def __init__(
        self,
        denoiser: Denoiser,
        policy: Policy,
        *,
        predictor: Predictor | None = None,  # for policies with needs_predictor
        solver_name: str = "dpmpp_2m",  # of a denoiser that is not strided; see solver_for
        image_size: tuple[int, int] | None = None,  # height, width in px; the arch's by default
        fallback: Policy | None = None,  # for a step of which the predictor says nothing finite
    ):
        arch = denoiser.arch
        height, width = image_size or (arch.image_size, arch.image_size)
        self.denoiser, self.policy, self.predictor = denoiser, policy, predictor
        self.fallback = fallback or Static()
        solver_name = solver_for(arch.strided, solver_name)
        self.advance, self.heun = solver(solver_name), solver_name == "heun"
        self.cost = CostModel(arch, height, width)
        self.grid = self.cost.grid
        self.predictor_flops = (
            predictor_flops(arch, self.cost.num_regions) if policy.needs_predictor else 0
        )

    def ledger(self, request: Request) -> Ledger:
        steps, guided = request.num_inference_steps, request.guidance_scale != 1
        return Ledger(self.cost, steps, guided, self.heun, self.predictor_flops, request.dense_last)

    def batches(self, requests: Sequence[Request]) -> list[Sequence[Request]]:
        """The requests in parts whose pixels fit one network call."""
        size = max(1, BATCH_PIXELS // (self.cost.height * self.cost.width))
        return [requests[i : i + size] for i in range(0, len(requests), size)]

    @torch.no_grad()
    def start(self, requests: Sequence[Request], first_id: int = 0) -> SamplerState:
        """A batch at its first noise level. Raises ModelError for a request out of bounds."""
        arch, num = self.denoiser.arch, len(requests)
        for request in requests:
            check_request(request, arch)
        ceilings = [self.ledger(r).ceiling(r.budget) for r in requests]
        shape = (self.cost.height, self.cost.width, arch.image_channels)
        sigmas = [sampling_sigmas(r.num_inference_steps, arch.strided).float() for r in requests]
        x = torch.stack(
            [noise(r.seed, shape) * s[0] for r, s in zip(requests, sigmas, strict=True)]
        )
        guided = any(r.guidance_scale != 1 for r in requests)
        make = lambda: empty_cache(arch, num, *shape[:2])  # noqa: E731
        device = next(self.denoiser.parameters()).device
        live = Live(
            ids=torch.arange(first_id, first_id + num),
            x=x,
            denoised=torch.zeros_like(x),
            sigmas=pad_sigmas(sigmas),
            step=torch.zeros(num, dtype=torch.int64),
            num_steps=torch.tensor([r.num_inference_steps for r in requests]),
            labels=torch.tensor([r.label for r in requests]),
            seeds=torch.tensor([r.seed for r in requests]),
            guidance=torch.tensor([r.guidance_scale for r in requests], dtype=torch.float32),
            branches=torch.tensor([self.ledger(r).branches for r in requests]),
            ceiling=torch.tensor(ceilings, dtype=torch.float64),
            reserve=torch.tensor([float(self.ledger(r).reserved_flops) for r in requests]).double(),
            full=torch.tensor([float(self.ledger(r).full_flops) for r in requests]).double(),
            spent=torch.zeros(num, dtype=torch.float64),
            fallbacks=torch.zeros(num, dtype=torch.int64),
            history=new_history(x),
            past=new_past(num, self.grid),
            exited=torch.zeros(num, *self.grid, dtype=torch.bool),
            cache=make(),
            cache_unlabelled=make() if guided else None,
        )
        # Drawn on the CPU wherever the network is: a seed means the same picture everywhere.
        return SamplerState(live.to(device), (), dict.fromkeys(live.ids.tolist(), ()))

    @torch.no_grad()
    def step(self, state: SamplerState) -> SamplerState:
        """One denoising step of every live sample; finished ones leave the batch.

        The caches of `state` are written in place: it cannot be stepped from again.
        """
        live = state.live
        levels = Levels(*live.sigma_pair())
        ends = levels.sigma_next == 0
        forwards = live.branches // (1 + ends.long()) if self.heun else live.branches
        observation, failed = mended(self._observe(live, levels, forwards))
        decision = self._decide(observation, failed)
        widths = within_room(decision.plan.widths, decision.room, observation)
        if (reserve := live.set_aside()) is not None:
            closing = (reserve > 0) & (live.step == live.num_steps - 1)
            widths = torch.where(closing[:, None, None], NUM_WIDTHS, widths)
        # Of both evaluations of Heun's step, so that it costs what it is charged.
        plan = Plan(widths, level_caps(self.denoiser.arch, levels.sigma))
        denoised, cache, other = denoise(self.denoiser, live, live.x, levels, plan, live.denoised)
        x_next, history = self._advance(live, denoised, levels, plan.widths == HELD)
        if self.heun:
            x_next = self._second_half(live, x_next, denoised, levels, plan)
        flops = plan_flops(plan.widths, self.cost, levels.sigma) * forwards
        change = region_stats(denoised, live.denoised, self.grid)[..., -1]
        seen = residual(observation, failed)
        live = replace(
            live, x=x_next, denoised=denoised, history=history, step=live.step + 1, cache=cache,
            cache_unlabelled=other, exited=decision.exits | live.exited,
            spent=live.spent + flops + self.predictor_flops,
            past=remember(live.past, plan.widths, change, seen, decision.calm),
            fallbacks=live.fallbacks if failed is None else live.fallbacks + failed,
        )  # fmt: skip
        ran = zip(live.ids.tolist(), plan.widths.cpu(), strict=True)
        trace = {sample: (*state.trace[sample], widths) for sample, widths in ran}
        return self._retire(SamplerState(live, state.finished, trace))

    def run(self, requests: Sequence[Request]) -> list[Finished]:
        """Start and step to the end; in the order of the requests."""
        state = self.start(requests)
        while state.live.num_samples:
            state = self.step(state)
        return sorted(state.finished, key=lambda f: f.id)

    def _observe(self, live: Live, levels: Levels, forwards: Tensor) -> Observation:
        later = (live.num_steps - live.step - 1) * self.predictor_flops
        left = live.ceiling - live.spent - self.predictor_flops - later
        forwards_left = self._forwards_left(live)
        if (reserve := live.set_aside()) is not None:
            to_come = torch.where(live.step < live.num_steps - 1, reserve, 0.0)
            left = left - to_come
            last = live.branches // 2 if self.heun else live.branches
            forwards_left = torch.where(to_come > 0, forwards_left - last, forwards_left)
        observation = Observation(
            live.x, live.denoised, live.labels, live.seeds, levels.sigma, levels.sigma_next,
            live.step, live.num_steps, live.past, live.exited, left, forwards,
            forwards_left, self.cost,
        )  # fmt: skip
        if not self.policy.needs_predictor:
            return observation
        assert self.predictor is not None, "this policy needs a predictor"
        features = region_features(
            live.x, live.denoised, levels.sigma, levels.sigma_next, live.past,
            self._share(observation), self.denoiser.arch.sigma_data,
        )  # fmt: skip
        return replace(observation, log_errors=self.predictor(features, live.labels))

    def _decide(self, observation: Observation, failed: Tensor | None) -> Decision:
        """The policy's decision; the fallback's for the samples in `failed`."""
        decision = self.policy.decide(observation)
        if failed is None:
            return decision
        return stand_in(decision, self.fallback.decide(observation), failed, observation)

    def _forwards_left(self, live: Live) -> Tensor:
        """[b] forwards of the full model for the coming step and all later ones."""
        total = (live.num_steps - live.step) * live.branches
        return total - live.branches // 2 if self.heun else total

    def _share(self, seen: Observation) -> Tensor:
        """What is left, as a share of full compute for the steps that are left; at most 1."""
        full = seen.forwards_left * float(self.cost.full_flops)
        return (seen.budget_left / full).clamp(0, 1)

    def _advance(
        self, live: Live, denoised: Tensor, levels: Levels, held: Tensor
    ) -> tuple[Tensor, History]:
        """x at sigma_next; held regions, [b, rh, rw] bool, slide along their constant D."""
        sigma, sigma_next = levels.sigma, levels.sigma_next
        if self.advance is dpmpp_2m:  # what `settle` and it do, in one operator
            last = live.history
            x_next = ode_exit(live.x, denoised, last.denoised, sigma, sigma_next, last.sigma, held)
            return x_next, last.push(denoised, live.x, sigma)
        pixels = spread_to_pixels(held, self.cost.height, self.cost.width)
        history = settle(live.history, live.x, denoised, sigma, pixels)
        return self.advance(live.x, denoised, sigma, sigma_next, history)

    def _second_half(
        self, live: Live, x_next: Tensor, denoised: Tensor, levels: Levels, plan: Plan
    ) -> Tensor:
        """Heun's second evaluation: same plan, held regions keep their D; none at sigma' = 0."""
        second, _, _ = denoise(self.denoiser, live, x_next, *second_levels(levels, plan), denoised)
        return heun_correct(live.x, denoised, second, levels.sigma, levels.sigma_next, x_next)

    def _retire(self, state: SamplerState) -> SamplerState:
        """Takes out samples at sigma = 0 and samples whose regions have all exited, unless a dense
        last step is to come."""
        live = state.live
        settled = live.exited.flatten(1).all(dim=1)
        if (reserve := live.set_aside()) is not None:
            settled = settled & (reserve == 0)
        done = (live.step >= live.num_steps) | settled
        if not bool(done.any()):
            return state
        finished = []
        for i in done.nonzero().squeeze(1).tolist():
            sample = int(live.ids[i])
            finished.append(
                Finished(
                    id=sample, x_0=live.denoised[i].cpu(),
                    flops=float(live.spent[i]), full_flops=float(live.full[i]),
                    num_steps=int(live.step[i]), max_steps=int(live.num_steps[i]),
                    widths=torch.stack(state.trace[sample]),
                    fallbacks=int(live.fallbacks[i]),
                )
            )  # fmt: skip
        keep = (~done).nonzero().squeeze(1)
        trace = {i: state.trace[i] for i in live.ids[keep].tolist()}
        left = live.select(keep).without_idle_branch()
        return SamplerState(left, (*state.finished, *finished), trace)


def residual(observation: Observation, failed: Tensor | None) -> Tensor | None:
    """[b, rh, rw] log residual to remember of this step: no guess, and never NaN."""
    if observation.log_errors is None:
        return None
    predicted = observation.log_errors[..., HELD]
    if failed is None:
        return predicted
    return torch.where(failed[:, None, None], observation.past.log_residual, predicted)


def noise(seed: int, shape: tuple[int, ...]) -> Tensor:
    """Unit noise of one sample; depends on its seed alone."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pad_sigmas(sigmas: list[Tensor]) -> Tensor:
    """[b, longest] noise levels, zeros behind the end."""
    if not sigmas:
        raise ShapeError("requests must hold at least one request, got none.")
    return torch.nn.utils.rnn.pad_sequence(sigmas, batch_first=True)
