"""The networks and whole steps that `bench step` times, of random weights or of a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nitrogen.model.config import NUM_WIDTHS, preset
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.observation import Observation
from nitrogen.model.pipeline import Pipeline
from nitrogen.model.policies import Budget, Decision, Full, Policy, no_exit
from nitrogen.model.predictor import Predictor
from nitrogen.model.regions import HELD
from nitrogen.model.request import Request, SamplerState
from nitrogen.model.sampler import Sampler
from nitrogen.platform.errors import DataError

BUDGET = 0.5  # of the row that users get
STEPS = 100  # of random weights: far from either end
TRAINED_STEPS = 8  # as a distilled student is sampled


@dataclass(frozen=True)
class Networks:
    """denoiser, predictor; budgeted: policy `budget` at BUDGET as a user's request gets it;
    num_steps: of the pictures whose third step is timed."""

    denoiser: Denoiser
    predictor: Predictor
    budgeted: Policy
    num_steps: int


def untrained(name: str, device: str) -> Networks:
    """A preset. Its gates start at zero, where any network would be right: they are moved. The
    predictor says that every width is worth more than the next narrower one: a budget is spent."""
    arch = preset(name)
    torch.manual_seed(0)
    denoiser = Denoiser(arch).to(device).eval().requires_grad_(False)
    predictor = Predictor(arch).to(device).eval().requires_grad_(False)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
        predictor.widths.bias.copy_(torch.arange(NUM_WIDTHS) * -1.0 - 5)  # log errors; held: -4
    return Networks(denoiser, predictor, Budget(), STEPS)


def trained(directory: Path, device: str) -> Networks:
    """A saved model with its own prices. Raises WeightsError, or DataError without a predictor."""
    pipeline = Pipeline.load(directory).to(device)
    if pipeline.predictor is None:
        raise DataError(
            f"--run must hold a student with a predictor, got {directory}. Name another."
        )
    budgeted = pipeline.policy("budget", None, BUDGET, TRAINED_STEPS)
    return Networks(pipeline.denoiser, pipeline.predictor, budgeted, TRAINED_STEPS)


class Checkerboard:
    """Half of the regions, whatever the predictor says; it is paid for."""

    needs_predictor = True

    def decide(self, observation: Observation) -> Decision:
        _, rh, rw = observation.exited.shape
        odd = (torch.arange(rh)[:, None] + torch.arange(rw)) % 2 == 1
        known = (observation.past.quarters > HELD) & odd.to(observation.exited.device)
        widths = torch.full_like(observation.past.quarters, NUM_WIDTHS)
        return no_exit(torch.where(known, HELD, widths))


def half_plan(widths: Tensor) -> Tensor:
    """The checkerboard's widths [b, rh, rw], given those of everything."""
    half = widths.clone()
    half[:, ::2, 1::2] = half[:, 1::2, ::2] = HELD
    return half


def steppers(networks: Networks, batch: int, size: int) -> dict[str, Stepper]:
    """By name: everything, half of the regions, and what policy `budget` makes of BUDGET."""
    policies: Sequence[tuple[str, Policy, float | None]] = (
        ("step full", Full(needs_predictor=True), None),
        ("step half", Checkerboard(), None),
        (f"step budget {BUDGET:g}", networks.budgeted, BUDGET),
    )
    return {
        name: Stepper(networks, policy, budget, batch, size) for name, policy, budget in policies
    }


class Stepper:
    """The third step of a batch, again and again: the first when a region may be held and a solver
    is of second order. The plan is the same each time, for it does not read the caches."""

    def __init__(
        self, networks: Networks, policy: Policy, budget: float | None, batch: int, size: int
    ):
        self.sampler = Sampler(
            networks.denoiser, policy, predictor=networks.predictor, image_size=(size, size)
        )
        requests = [
            Request(0, seed, num_inference_steps=networks.num_steps, budget=budget)
            for seed in range(batch)
        ]
        begun = self.sampler.start(requests)
        self.state = self.sampler.step(self.sampler.step(begun))

    def __call__(self) -> SamplerState:
        return self.sampler.step(self.state)

    def shares(self) -> dict[str, float]:
        """What the step really computes: the share of rows at any width, the mean width of all
        rows, and FLOPs over those of the full model, prediction included."""
        spent = self().live.spent - self.state.live.spent
        widths = self.sampler.planner.plan(self.state.live).plan.widths
        shares = {
            "rows_share": (widths > HELD).double().mean(),
            "width_share": widths.double().mean() / NUM_WIDTHS,
            "flops_share": spent.mean() / self.sampler.cost.full_flops,
        }
        return {name: round(float(value), 4) for name, value in shares.items()}

    def planned(self) -> str:
        """How its steps are planned: in one call, or by parts."""
        return "in one call" if self.sampler.planner.in_one_call(self.state.live) else "by parts"
