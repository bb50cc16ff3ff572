"""Predicted against true errors of held regions along the student's own roll-outs.

What the exit threshold reads is a prediction of the error of holding a region, made before the
step. Here the teacher answers at the same x_t, so the error is known. The threshold is chosen on
the validation split; what it keeps is measured on the report split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.observation import Observation
from nitrogen.model.policies import WARM_UP_SHARE, Decision, Policy, no_exit, required
from nitrogen.model.regions import pool_to_regions
from nitrogen.pipelines.bench.controls import true_denoised
from nitrogen.pipelines.bench.methods import Method, with_policy
from nitrogen.pipelines.bench.models import Models
from nitrogen.pipelines.bench.row_denoiser import RowDenoiser
from nitrogen.pipelines.bench.tuning import SOLVER
from nitrogen.pipelines.metrics.calibration import exit_threshold, realised, reliability
from nitrogen.pipelines.sampling import Draws

CANDIDATES = tuple(np.geomspace(1e-6, 1e-1, 51).tolist())
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

    def __init__(self, policy: Policy, teacher: RowDenoiser, strided: bool):
        self.policy, self.teacher, self.strided = policy, teacher, strided
        self.steps: list[tuple[np.ndarray, np.ndarray]] = []

    def decide(self, observation: Observation) -> Decision:
        target = true_denoised(self.teacher, self.strided, observation)
        grid = (observation.exited.shape[1], observation.exited.shape[2])
        error = pool_to_regions((observation.denoised - target).square(), grid).mean(-1)
        early = observation.step < (observation.num_steps * WARM_UP_SHARE).clamp_min(2)
        actual = torch.where(early[:, None, None] | observation.exited, torch.nan, error)
        predicted = required(observation.log_errors)[..., 0].exp()
        self.steps.append((predicted.flatten(1).numpy(), actual.flatten(1).numpy()))
        return self.policy.decide(observation)


def pairs(models: Models, policy: Policy, drawn: Draws, num_steps: int) -> Pairs:
    """Roll-outs of the student under `policy`, which must not let whole samples exit."""
    parts, teacher = [], RowDenoiser(models.teacher.denoiser)
    for start in range(0, len(drawn), BATCH):
        watching = Watching(policy, teacher, models.student.arch.strided)
        method = Method("calibration", "ours", "policy", {"solver": SOLVER, "num_steps": num_steps})
        part = slice(start, start + BATCH)
        with_policy(models, method, watching, "student")(drawn.labels[part], drawn.seeds[part])
        parts.append(
            [np.concatenate(column, axis=1) for column in zip(*watching.steps, strict=True)]
        )
    predicted, actual = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Pairs(predicted, actual)


def calibrate(
    models: Models,
    policy: Policy,
    tune: Draws,
    report: Draws,
    *,
    num_steps: int,
    eps: Sequence[float],
    delta: float = 0.1,
    alpha: float = 0.05,
) -> dict[str, Any]:
    """Reliability on the report split, and for each eps the threshold with its guarantee.

    For each eps: the threshold chosen on the validation split, and P(error > eps | exit) that it
    led to on the report split; `holds` says whether that is at most delta.
    """
    known, unseen = pairs(models, policy, tune, num_steps), pairs(models, policy, report, num_steps)
    inside = ~np.isnan(unseen.actual)
    thresholds = []
    for bound in eps:
        found = exit_threshold(
            known.predicted, known.actual, eps=bound, delta=delta, candidates=CANDIDATES,
            alpha=alpha,
        )  # fmt: skip
        entry = found.to_dict()
        if found.value is not None:
            kept = realised(unseen.predicted, unseen.actual, found.value, bound)
            holds = kept["value"] is None or kept["value"] <= delta
            entry |= {"unseen": kept, "holds": holds}
        thresholds.append(entry)
    return {
        "num_steps": num_steps,
        "n": len(report),
        "n_calibration": len(tune),
        "reliability": reliability(unseen.predicted[inside], unseen.actual[inside]),
        "thresholds": thresholds,
        "ranking": ranking(unseen, num_steps),
    }


def ranking(found: Pairs, num_steps: int) -> dict[str, Any]:
    """Spearman's rank correlation of predicted and true error *within* a picture and step: over
    all steps the noise level alone would give a large one."""
    n = len(found.predicted)
    predicted = found.predicted.reshape(n, num_steps, -1)
    actual = found.actual.reshape(n, num_steps, -1)
    values = []
    per_step = (array.reshape(-1, array.shape[2]) for array in (predicted, actual))
    for p, a in zip(*per_step, strict=True):
        if not np.isnan(a).any() and p.std() > 0 and a.std() > 0:
            values.append(np.corrcoef(p.argsort().argsort(), a.argsort().argsort())[0, 1])
    if not values:
        return {"value": None, "n": 0}
    return {"value": float(np.mean(values)), "n": len(values)}


class Uniform:
    """Everything at one width, without exits: roll-outs that no threshold has shaped."""

    needs_predictor = False

    def __init__(self, quarters: int = NUM_WIDTHS):
        self.quarters = quarters

    def decide(self, observation: Observation) -> Decision:
        return no_exit(torch.full_like(observation.past.quarters, self.quarters))
