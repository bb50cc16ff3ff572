"""The stepwise sampler: `state = start(requests)`, then `state = step(state)` until none is live.

Samples of one batch may stand at different sigmas with different plans, budgets and guidance; the
rows of all of them go through one network call. A sample's result does not depend on its batch
mates, bit for bit, on one machine, build and thread count.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nitrogen.kernels.dispatch import ode_exit, region_stats
from nitrogen.model.budget import Ledger
from nitrogen.model.config import MAX_STEPS
from nitrogen.model.cost import CostModel
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.forward import Levels, denoise, keep_held, second_levels
from nitrogen.model.leg import Leg
from nitrogen.model.observation import remember
from nitrogen.model.planning import Planner, StepPlan
from nitrogen.model.policies import Full, Policy, Static
from nitrogen.model.predictor import Predictor
from nitrogen.model.regions import HELD, spread_to_pixels
from nitrogen.model.relay import Relay
from nitrogen.model.request import Finished, Live, Request, SamplerState, check_request
from nitrogen.model.schedules import KARRAS, Spacing, sampling_sigmas
from nitrogen.model.solvers import (
    History,
    dpmpp_2m,
    euler,
    heun_correct,
    settle,
    solver,
    solver_for,
)
from nitrogen.model.start import Order, first_batch
from nitrogen.model.whole_steps import whole_steps

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
        spacing: Spacing = KARRAS,  # of its noise levels, likewise
        image_size: tuple[int, int] | None = None,  # height, width in px; the arch's by default
        fallback: Policy | None = None,  # for a step of which the predictor says nothing finite
        relay: Relay | None = None,  # of a strided denoiser: who takes the last steps
    ):
        arch = denoiser.arch
        height, width = image_size or (arch.image_size, arch.image_size)
        self.denoiser, self.spacing = denoiser, spacing
        solver_name = solver_for(arch.strided, solver_name)
        self.advance, self.heun = solver(solver_name), solver_name == "heun"
        self.cost = CostModel(arch, height, width)
        self.grid = self.cost.grid
        self.planner = Planner(
            denoiser, policy, predictor, fallback or Static(), self.cost, self.heun
        )
        self.steps_in_one_call = not self.heun and self.advance in (dpmpp_2m, euler)
        self.relay, self.late = relay, None
        if relay is not None:
            self.late = Sampler(relay.late, Full(), image_size=(height, width))

    def ledger(self, request: Request) -> Ledger:
        return self._ledger(request, self.leg(request))

    def leg(self, request: Request) -> Leg | None:
        """When the relay's second network takes over; None where it does not, for the request has
        too few steps or its budget does not pay for them."""
        relay = self.relay_of(request)
        return None if relay is None else relay.table.leg(request.num_inference_steps)

    def relay_of(self, request: Request) -> Relay | None:
        """The dearest relay that the budget pays for."""
        for relay in self.relay.each() if self.relay else ():
            leg = relay.table.leg(request.num_inference_steps)
            if leg is None:
                continue
            if request.budget is None or self._ledger(request, leg).affords(request.budget):
                return relay
        return None

    def _ledger(self, request: Request, leg: Leg | None) -> Ledger:
        steps, guided = request.num_inference_steps, request.guidance_scale != 1
        dense = max(int(request.dense_last), steps - leg.early if leg else 0)
        predicted, strides = self.planner.predictor_flops, leg.early if leg else None
        return Ledger(self.cost, steps, guided, self.heun, predicted, dense, strides)

    def order(self, request: Request) -> Order:
        """Raises ModelError for a request out of bounds."""
        check_request(request, self.denoiser.arch)
        num_steps, leg = request.num_inference_steps, self.leg(request)
        ledger = self._ledger(request, leg)
        if leg is not None:
            return Order(request, ledger, leg.sigmas(num_steps).float(), leg.early)
        sigmas = sampling_sigmas(num_steps, self.denoiser.arch, self.spacing)
        return Order(request, ledger, sigmas.float(), num_steps)

    def batches(self, requests: Sequence[Request]) -> list[Sequence[Request]]:
        """The requests in parts whose pixels fit one network call."""
        size = max(1, BATCH_PIXELS // (self.cost.height * self.cost.width))
        return [requests[i : i + size] for i in range(0, len(requests), size)]

    @torch.no_grad()
    def start(self, requests: Sequence[Request], first_id: int = 0) -> SamplerState:
        """A batch at its first noise level. Raises ModelError for a request out of bounds."""
        orders = [self.order(request) for request in requests]
        device = next(self.denoiser.parameters()).device
        live = first_batch(orders, self.denoiser.arch, self.cost, first_id)
        # Drawn on the CPU wherever the network is: a seed means the same picture everywhere.
        live = live if device.type == "cpu" else live.to(device)
        return SamplerState(live, (), dict.fromkeys(live.ids.tolist(), ()))

    @torch.no_grad()
    def step(self, state: SamplerState) -> SamplerState:
        """One denoising step of every live sample; finished ones leave the batch.

        The caches of `state` are written in place: it cannot be stepped from again.
        """
        return self.steps(state, 1)

    @torch.no_grad()
    def steps(self, state: SamplerState, most: int) -> SamplerState:
        """At least one step, as `step` makes it, and at most `most` of them where one call of C++
        can make several; a sample leaves after the step that finishes it. None of no samples."""
        if not state.live.num_samples:
            return state
        if self.late is None:
            return self._steps(state, most)
        late = state.live.step >= state.live.late_from
        if bool(late.all()):
            return self.late._steps(state, most)
        if not bool(late.any()):
            before = int((state.live.late_from - state.live.step).min())
            return self._steps(state, min(most, before))
        early, behind = state.split(late)
        return self._steps(early, 1).join(self.late._steps(behind, 1))

    def _steps(self, state: SamplerState, most: int) -> SamplerState:
        """The same of samples that are all this sampler's own network's."""
        if self.steps_in_one_call:
            made = whole_steps(self.planner, state, most, self.advance is dpmpp_2m)
            if made is not None:
                return self._retire(*made)
        live, step = self.compute(state.live)
        ran = zip(live.ids.tolist(), step.plan.widths.cpu(), strict=True)
        trace = {sample: (*state.trace[sample], widths) for sample, widths in ran}
        return self._retire(SamplerState(live, state.finished, trace), step.someone_exited)

    def compute(self, live: Live) -> tuple[Live, StepPlan]:
        """The batch behind one denoising step, and what that step computed: plan, network, exits
        and the solver's update. Tensors in, tensors out: compiled, it is one graph (the policies
        `random` and `oracle` apart, which leave torch). Of this sampler's own network: the late
        steps of a relay are `self.late.compute`'s."""
        step = self.planner.plan(live)
        fresh, cache, other = denoise(
            self.denoiser, live, live.x, step.levels, step.plan, live.denoised, step.everyone_busy
        )
        after = replace(
            live, **self._close(live, fresh, step),
            step=live.step + 1, cache=cache, cache_unlabelled=other, exited=step.exits,
            spent=live.spent + step.flops,
            fallbacks=live.fallbacks if step.failed is None else live.fallbacks + step.failed,
        )  # fmt: skip
        return after, step

    def run(self, requests: Sequence[Request]) -> list[Finished]:
        """Start and step to the end; in the order of the requests."""
        state = self.start(requests)
        while state.live.num_samples:
            state = self.steps(state, MAX_STEPS)
        return sorted(state.finished, key=lambda f: f.id)

    def _close(self, live: Live, fresh: Tensor, step: StepPlan) -> dict[str, Any]:
        """What changes with D."""
        levels, widths = step.levels, step.plan.widths
        denoised = keep_held(widths, fresh, live.denoised)
        x_next, history = self._advance(live, denoised, levels, widths == HELD)
        if self.heun:
            x_next = self._second_half(live, x_next, denoised, step)
        change = region_stats(denoised, live.denoised, self.grid)[..., -1]
        past = remember(live.past, widths, change, step.log_residual, step.calm)
        return {"x": x_next, "denoised": denoised, "history": history, "past": past}

    def _advance(
        self, live: Live, denoised: Tensor, levels: Levels, held: Tensor
    ) -> tuple[Tensor, History]:
        """x at sigma_next; held regions, [b, rh, rw] bool, slide along their constant D."""
        sigma, sigma_next = levels.sigma, levels.sigma_next
        if self.steps_in_one_call:  # what `settle` and the solver do, in one operator
            last = live.history
            known = last.sigma if self.advance is dpmpp_2m else torch.full_like(sigma, math.nan)
            x_next = ode_exit(live.x, denoised, last.denoised, sigma, sigma_next, known, held)
            return x_next, last.push(denoised, live.x, sigma)
        pixels = spread_to_pixels(held, self.cost.height, self.cost.width)
        history = settle(live.history, live.x, denoised, sigma, pixels)
        return self.advance(live.x, denoised, sigma, sigma_next, history)

    def _second_half(self, live: Live, x_next: Tensor, denoised: Tensor, step: StepPlan) -> Tensor:
        """Heun's second evaluation: same plan, held regions keep their D; none at sigma' = 0. Of
        one plan with the first, so that a step costs what it is charged."""
        levels, plan = second_levels(step.levels, step.plan)
        second, _, _ = denoise(self.denoiser, live, x_next, levels, plan, denoised)
        second = keep_held(plan.widths, second, denoised)
        return heun_correct(live.x, denoised, second, *step.levels.pair(), x_next)

    def _retire(self, state: SamplerState, someone_exited: bool | None) -> SamplerState:
        """Takes out samples at sigma = 0 and samples whose regions have all exited, unless a dense
        last step is to come. someone_exited: whether there is one of these, None: not known."""
        live = state.live
        if someone_exited is False and not bool((live.step >= live.num_steps).any()):
            return state
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
                    sigmas=live.sigmas[i, : int(live.num_steps[i])].cpu(),
                    late_from=int(live.late_from[i]),
                    fallbacks=int(live.fallbacks[i]),
                )
            )  # fmt: skip
        keep = (~done).nonzero().squeeze(1)
        trace = {i: state.trace[i] for i in live.ids[keep].tolist()}
        left = live.select(keep).without_idle_branch()
        return SamplerState(left, (*state.finished, *finished), trace)
