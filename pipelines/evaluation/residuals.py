"""Predicted against true errors of holding a region, along the student's own roll-outs.

What the exit threshold reads is a prediction that is made before the step. Here the teacher
answers at the same x_t, so that the error is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nitrogen.model.confidence import WARM_UP_SHARE, required
from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.observation import Observation
from nitrogen.model.pipeline import Pipeline
from nitrogen.model.policies import Decision, Policy, no_exit
from nitrogen.model.regions import region_mse
from nitrogen.pipelines.metrics.calibration import reliability
from nitrogen.pipelines.sampling import Draws
from nitrogen.pipelines.training.stride import stride_target

Network = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Any]]  # (x, sigma, labels) -> D, cache
NUM_SUBSTEPS = 8  # of the teacher's solution that a strided student is measured against
BATCH = 64


@dataclass(frozen=True)
class Pairs:
    """predicted, actual: [pictures, steps * regions] mean squared error of holding, NaN where no
    region may exit yet."""

    predicted: np.ndarray
    actual: np.ndarray


class Watching:
    """Another policy's decisions; writes down what was predicted and what was true."""

    needs_predictor = True

    def __init__(self, policy: Policy, teacher: Network, strided: bool):
        self.policy, self.teacher, self.strided = policy, teacher, strided
        self.steps: list[tuple[np.ndarray, np.ndarray]] = []

    def decide(self, observation: Observation) -> Decision:
        target = true_denoised(self.teacher, self.strided, observation)
        error = region_mse(observation.denoised, target, observation.cost.grid)
        early = observation.step < (observation.num_steps * WARM_UP_SHARE).clamp_min(2)
        actual = torch.where(early[:, None, None] | observation.exited, torch.nan, error)
        predicted = required(observation.log_errors)[..., 0].exp()
        self.steps.append((array(predicted), array(actual)))
        return self.policy.decide(observation)


class Uniform:
    """Everything at one width, without exits: roll-outs that no threshold has shaped."""

    needs_predictor = False

    def __init__(self, quarters: int = NUM_WIDTHS):
        self.quarters = quarters

    def decide(self, observation: Observation) -> Decision:
        return no_exit(torch.full_like(observation.past.quarters, self.quarters))


def true_denoised(teacher: Network, strided: bool, observation: Observation) -> Tensor:
    """What the student's D is measured against: the teacher's at the same x_t, or for a strided
    student the D of the teacher's own solution over the whole step. [b, h, w, c]."""
    x, sigma, labels = observation.x_t, observation.sigma, observation.labels
    if strided:
        alone = lambda *asked: teacher(*asked)[0]  # noqa: E731
        return stride_target(alone, x, sigma, observation.sigma_next, labels, NUM_SUBSTEPS)
    return teacher(x, sigma, labels)[0]


def watched(
    student: Pipeline, teacher: Network, policy: Policy, drawn: Draws, num_steps: int, solver: str
) -> Pairs:
    """Roll-outs of the student under `policy`, which must not let whole samples exit."""
    parts = []
    for part in drawn.parts(BATCH):
        watching = Watching(policy, teacher, student.arch.strided)
        student.sampler(watching, solver).run(part.requests(num_steps))
        parts.append(
            [np.concatenate(column, axis=1) for column in zip(*watching.steps, strict=True)]
        )
    predicted, actual = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Pairs(predicted, actual)


def reliability_of(
    student: Pipeline, teacher: Network, drawn: Draws, num_steps: int, solver: str
) -> dict[str, Any] | None:
    """metrics.calibration.reliability of the predicted residual, with n pictures and num_steps;
    None without a predictor, or where a run is too short for an exit."""
    if student.predictor is None or not len(drawn):
        return None
    found = watched(student, teacher, Uniform(), drawn, num_steps, solver)
    known = np.isfinite(found.actual) & np.isfinite(found.predicted)
    if not known.any():
        return None
    curve = reliability(found.predicted[known], found.actual[known])
    return curve | {"n": len(drawn), "num_steps": num_steps}


def array(values: Tensor) -> np.ndarray:
    """[b, ...] -> float32 [b, n]."""
    return values.flatten(1).float().cpu().numpy()
