"""What a step will compute: policy, budget and predictor brought together, before the network runs.

By parts, for every policy and device; in one call of C++ where that knows the policy. Both give the
same plan.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from nitrogen.kernels.blocks import one_call
from nitrogen.kernels.cpu import planning as cpu
from nitrogen.model.budget import plan_flops
from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.cost import CostModel
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.fallback import mended, stand_in
from nitrogen.model.forward import Levels
from nitrogen.model.observation import Observation, region_features
from nitrogen.model.policies import Budget, Decision, Full, Policy, Static
from nitrogen.model.predictor import LOG_RANGE, Predictor, predictor_flops
from nitrogen.model.regions import HELD, Plan, level_caps
from nitrogen.model.request import Live
from nitrogen.model.spending import within_room


@dataclass(frozen=True)
class StepPlan:
    """What one step of a batch computes and costs.

    exits: [b, rh, rw] bool, regions that are held for good; log_residual: [b, rh, rw] to remember,
    or None; calm: see Past, or None; flops: [b] float64, prediction included; failed: [b] bool,
    whose prediction was not finite, or None; everyone_busy, someone_exited: whether every sample
    computes something, whether some sample's regions have all exited; None where it was not asked.
    """

    levels: Levels
    plan: Plan
    exits: Tensor
    log_residual: Tensor | None
    calm: Tensor | None
    flops: Tensor
    failed: Tensor | None = None
    everyone_busy: bool | None = None
    someone_exited: bool | None = None


@dataclass(frozen=True)
class Planner:
    """Plans the steps of pictures of one size for one network, policy and solver.

    fallback: for a step of which the predictor says nothing finite; slack: share of full compute by
    which budgets are above what the predictor is told of them.
    """

    denoiser: Denoiser
    policy: Policy
    predictor: Predictor | None
    fallback: Policy
    cost: CostModel
    heun: bool
    slack: float = 0.0

    @cached_property
    def predictor_flops(self) -> int:
        """FLOPs of a prediction for one sample, 0 for a policy without."""
        asked = self.policy.needs_predictor
        return predictor_flops(self.denoiser.arch, self.cost.num_regions) if asked else 0

    @cached_property
    def rules(self) -> cpu.Rules | None:
        """The policy as planning.cpp knows it; None for one, or a predictor, that it does not."""
        if self.policy.needs_predictor and type(self.predictor) is not Predictor:
            return None
        known = rules_of(self.policy)
        if known is None:
            return None
        cost, bounds = self.cost, self.cost.arch.layer_width
        return cpu.Rules(
            region_flops=cost.region_flops,
            bounded_flops=cost.bounded_flops if bounds else None,
            lowest=torch.tensor([sigma for sigma, _ in bounds[:-1]]) if bounds else None,
            fixed_flops=cost.fixed_flops, full_flops=cost.full_flops,
            predictor_flops=self.predictor_flops, sigma_data=cost.arch.sigma_data,
            heun=self.heun, slack=self.slack, **known,
        )  # fmt: skip

    def plan(self, live: Live) -> StepPlan:
        """The plan of the coming step of every sample."""
        planned = self._planned_in_one_call(live)
        return self._by_parts(live) if planned is None else planned

    def in_one_call(self, live: Live) -> bool:
        """Whether C++ knows the policy and runs here; what is not finite still goes by parts."""
        return self.rules is not None and one_call(live.x)

    def _planned_in_one_call(self, live: Live) -> StepPlan | None:
        """None where only the parts will do: another policy or device, or no finite prediction."""
        if not self.in_one_call(live):
            return None
        assert self.rules is not None, "one call needs rules"
        made = cpu.plan_step(batch_of(live), self.rules, self.network())
        if made is None:
            return None
        plan = Plan(made.widths, level_caps(self.denoiser.arch, made.sigma))
        return StepPlan(
            Levels(made.sigma, made.sigma_next), plan, made.exits, made.log_residual, made.calm,
            made.flops, None, made.everyone_busy, made.someone_exited,
        )  # fmt: skip

    def network(self) -> cpu.Network | None:
        """The predictor as planning.cpp reads it; None for a policy without."""
        if not self.policy.needs_predictor:
            return None
        assert self.predictor is not None, "this policy needs a predictor"
        return cpu.Network(self.predictor.classes, self.predictor.layers(), LOG_RANGE)

    def _by_parts(self, live: Live) -> StepPlan:
        levels = Levels(*live.sigma_pair())
        ends = levels.sigma_next == 0
        forwards = live.branches // (1 + ends.long()) if self.heun else live.branches
        observation, failed = mended(self._observe(live, levels, forwards))
        decision = self._decide(observation, failed)
        widths = within_room(decision.plan.widths, decision.room, observation)
        if live.set_aside() is not None:
            closing = live.step >= live.dense_from
            widths = torch.where(closing[:, None, None], NUM_WIDTHS, widths)
        flops = plan_flops(widths, self.cost, levels.sigma) * forwards + self.predictor_flops
        plan = Plan(widths, level_caps(self.denoiser.arch, levels.sigma))
        exits, seen = decision.exits | live.exited, residual(observation, failed)
        return StepPlan(levels, plan, exits, seen, decision.calm, flops, failed)

    def _observe(self, live: Live, levels: Levels, forwards: Tensor) -> Observation:
        predicted = torch.minimum(live.num_steps, live.late_from)
        later = (predicted - live.step - 1).clamp_min(0).double() * self.predictor_flops
        left = live.ceiling - live.spent - self.predictor_flops - later
        forwards_left = self._forwards_left(live)
        if (reserve := live.set_aside()) is not None:
            dense = live.num_steps - torch.maximum(live.step + 1, live.dense_from)
            left = left - reserve * dense
            half = torch.where(dense > 0, live.branches // 2, 0) if self.heun else 0
            forwards_left = forwards_left - (dense * live.branches - half)
        observation = Observation(
            live.x, live.denoised, live.labels, live.seeds, levels.sigma, levels.sigma_next,
            live.step, live.num_steps, live.dense_from, live.sigmas.shape[1] - 1, live.past,
            live.exited, left, forwards, forwards_left, self.cost,
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
        full = seen.forwards_left.double() * self.cost.full_flops
        untold = seen.num_steps.double() * (self.slack * self.cost.full_flops)
        return ((seen.budget_left - untold) / full).clamp(0, 1)


def batch_of(live: Live) -> dict[str, Tensor]:
    """What planning.cpp and steps.cpp read of a batch, by their names."""
    names = ("denoised", "sigmas", "guidance", "exited", *cpu.PER_SAMPLE)
    batch = {name: getattr(live, name) for name in names}
    batch |= {name: getattr(live.past, name) for name in cpu.PER_REGION if name != "exited"}
    return batch | {"x_t": live.x, "sigma_last": live.history.sigma}


def rules_of(policy: Policy) -> dict[str, Any] | None:
    """What planning.cpp has to know of a policy; None for one that it does not know."""
    if type(policy) is Budget:
        return dict(
            price=policy.price, exit_threshold=policy.exit_threshold, patience=policy.patience,
            max_age=policy.max_age,
        )  # fmt: skip
    if type(policy) is Full:
        return dict(schedule=torch.tensor([NUM_WIDTHS]), equal_shares=True)
    if type(policy) is Static and policy.widths is not None:
        return dict(schedule=torch.tensor(policy.widths))
    return None


def residual(observation: Observation, failed: Tensor | None) -> Tensor | None:
    """[b, rh, rw] log residual to remember of this step: no guess, and never NaN."""
    if observation.log_errors is None:
        return None
    predicted = observation.log_errors[..., HELD]
    if failed is None:
        return predicted
    return torch.where(failed[:, None, None], observation.past.log_residual, predicted)
