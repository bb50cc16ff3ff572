"""Policies: each looks at an observation and decides the width of every region, and its exit.

`full` `static` `random` `threshold` `budget` `oracle`. A new policy is a class with `decide`, a
row in POLICIES, and is found by the conformance test.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from nitrogen.model.confidence import PATIENCE, calm_steps, confident, errors_of, required
from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.errors import ModelError
from nitrogen.model.observation import Observation
from nitrogen.model.predictor import gains
from nitrogen.model.regions import HELD, Plan
from nitrogen.model.spending import forced, open_room, scheduled, spend

# What later steps no longer correct is seen: below this sigma a threshold shrinks with it. Measured
# on the demo's student at 0.42 of 0.49 GFLOPs: fd_lite0 at 0.557 of untrained's against 0.612.
STRICT_SIGMA, STRICTEST = 2.0, 0.02


@dataclass(frozen=True)
class Decision:
    """plan: what is computed now; exits: [b, rh, rw] bool, regions that are held for good.

    room: [b] FLOPs that the regions of one forward may cost, an equal share of what is left
    without one; never more than what is left. calm: see Past, of a policy that counts it.
    """

    plan: Plan
    exits: Tensor
    room: Tensor | None = None
    calm: Tensor | None = None


class Policy(Protocol):
    """needs_predictor: whether `Observation.log_errors` must be there (and is paid for)."""

    @property
    def needs_predictor(self) -> bool: ...

    def decide(self, observation: Observation) -> Decision: ...


@dataclass(frozen=True)
class Full:
    """Everything at full width at every step; with a predictor, its answer is paid for and ignored,
    which tells what it costs."""

    needs_predictor: bool = False

    def decide(self, observation: Observation) -> Decision:
        return no_exit(torch.full_like(observation.past.quarters, NUM_WIDTHS))


@dataclass(frozen=True)
class Static:
    """Widths by noise level alone, or by step: the same for every region and every picture.

    schedule: (sigma from which upwards, quarters), largest sigma first; ends at 0.
    widths: quarters of every step, 0 for keeping the last D, or None for the schedule. A step may
    spend what later ones leave: where all of them fit the ceiling, none is cut.
    """

    schedule: tuple[tuple[float, int], ...] = ((10.0, 1), (0.3, 2), (0.0, 1))
    widths: tuple[int, ...] | None = None
    needs_predictor = False

    def decide(self, observation: Observation) -> Decision:
        if self.widths is not None:
            quarters, room = scheduled(observation, self.widths)
            return replace(no_exit(quarters), room=room)
        quarters = torch.full_like(observation.past.quarters, self.schedule[-1][1])
        for lowest, width in reversed(self.schedule):
            above = (observation.sigma >= lowest)[:, None, None]
            quarters = torch.where(above, width, quarters)
        return no_exit(quarters)


@dataclass(frozen=True)
class Random:
    """A share of the regions at full width, the others narrow; drawn by (seed, step)."""

    share: float = 0.25
    narrow: int = 1
    needs_predictor = False

    def decide(self, observation: Observation) -> Decision:
        b, rh, rw = observation.past.quarters.shape
        count = round(self.share * rh * rw)
        draws = []
        for seed, step in zip(observation.seeds.tolist(), observation.step.tolist(), strict=True):
            generator = torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)
            draws.append(torch.randperm(rh * rw, generator=generator) < count)
        chosen = torch.stack(draws).view(b, rh, rw).to(observation.exited.device)
        return no_exit(torch.where(chosen, NUM_WIDTHS, self.narrow))


@dataclass(frozen=True)
class Threshold:
    """The confidence threshold: exit where the residual is below it, else the narrowest width
    whose error exceeds the full width's by less than it.

    threshold: mean squared error of D, images in [-1, 1], from sigma 2 upwards; below that it
    shrinks with sigma, down to a fiftieth. patience: see confident. A region that has not exited
    is computed at every step, unless the ceiling of the request is too low for that.
    """

    threshold: float = 1e-3
    patience: int = PATIENCE
    needs_predictor = True

    def decide(self, observation: Observation) -> Decision:
        errors = errors_of(observation)
        excess = errors[..., 1:] - errors[..., NUM_WIDTHS:]
        share = (observation.sigma / STRICT_SIGMA).clamp(STRICTEST, 1.0)
        bound = self.threshold * share[:, None, None]
        good = excess <= bound[..., None]
        good[..., -1] = True
        quarters = good.to(torch.int64).argmax(dim=-1) + 1
        exits = confident(observation, bound, self.patience)
        widths = torch.where(exits, HELD, quarters)
        return Decision(Plan(widths), exits, calm=calm_steps(observation, bound, self.patience))


@dataclass(frozen=True)
class Budget:
    """The best gain per FLOP under the budget; exits refund later steps.

    Without a price every step gets an equal share of what is left. With one, a step buys whatever
    gains more per FLOP than the price, so that steps of large gain get more: at the price at which
    the mean picture spends its budget, shares over steps and regions are one allocation. A step
    leaves the narrowest forward of every later one. A region that was held for max_age steps comes
    before every other, as far as the step's room goes: the ceiling is harder than its age.
    """

    exit_threshold: float = 0.0  # mean squared error of D; 0: regions never exit
    price: float | None = None  # mean squared error of x_0 per FLOP of a region
    patience: int = PATIENCE  # see confident
    max_age: int | None = None  # steps in a row that a region may be held and not exited
    needs_predictor = True

    def decide(self, observation: Observation) -> Decision:
        gain = gains(required(observation.log_errors), observation.sigma, observation.sigma_next)
        exits = confident(observation, self.exit_threshold, self.patience)
        calm = calm_steps(observation, self.exit_threshold, self.patience)
        if self.max_age is not None:
            gain = require_stale(observation, gain, self.max_age)
        if self.price is None:
            return Decision(Plan(spend(observation, gain, exits)), exits, calm=calm)
        room = open_room(observation)
        widths = spend(observation, gain, exits, room, self.price)
        return Decision(Plan(widths), exits, room, calm)


@dataclass(frozen=True)
class Oracle:
    """Budget with the true gain, which only a teacher at hand can tell; a bound, not a method.

    true_errors: observation -> [b, rh, rw, 5] mean squared distance of each option's D to the
    teacher's at the same x_t.
    """

    true_errors: Callable[[Observation], Tensor]
    needs_predictor = False

    def decide(self, observation: Observation) -> Decision:
        log_errors = self.true_errors(observation).clamp_min(1e-12).log()
        gain = gains(log_errors, observation.sigma, observation.sigma_next)
        exits = torch.zeros_like(observation.exited)
        return Decision(Plan(spend(observation, gain, exits)), exits)


def require_stale(observation: Observation, gain: Tensor, max_age: int) -> Tensor:
    """gain [b, rh, rw, 5], with computing forced for regions that were held for max_age steps."""
    return forced(gain, (observation.past.age >= max_age) & ~observation.exited)


def no_exit(quarters: Tensor) -> Decision:
    return Decision(Plan(quarters), torch.zeros_like(quarters, dtype=torch.bool))


POLICIES = ("full", "static", "random", "threshold", "budget", "oracle")


def make_policy(
    name: str,
    threshold: float | None = None,
    budget: float | None = None,
    price: float | None = None,  # of policy `budget`; equal shares a step without one
    widths: tuple[int, ...] | None = None,  # of policy `static`, for every step
) -> Policy:
    """The policy `name` with its one dial. `oracle` needs a teacher: construct Oracle itself.

    Raises ModelError for an unknown name or a dial that is missing or out of range.
    """
    if threshold is not None and not 0 <= threshold <= 4:
        raise ModelError(f"threshold must be 0 to 4 (mean squared error), got {threshold}.")
    if budget is not None and not 0 < budget <= 2:
        raise ModelError(f"budget must be above 0 and at most 2, got {budget}.")
    if name == "budget" and budget is None:
        raise ModelError("budget must be given with policy 'budget'. Pass for example 0.5.")
    simple: dict[str, Policy] = {
        "full": Full(),
        "static": Static(widths=widths),
        "random": Random(),
    }
    if name == "threshold":
        return Threshold(1e-3 if threshold is None else threshold)
    if name == "budget":
        return Budget(threshold or 0.0, price)
    if name not in simple:
        known = ", ".join(p for p in POLICIES if p != "oracle")
        raise ModelError(f"policy must be one of {known}, got {name!r}. Choose one of them.")
    if threshold is not None:
        raise ModelError(
            f"threshold must be left out for policy {name!r}, which has no exit, got "
            f"{threshold:g}. Take policy 'threshold' or 'budget'."
        )
    return simple[name]
