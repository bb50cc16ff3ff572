"""Does the predictor rank gain? Predicted against true gains of regions, where ours decides.

What a region gains by more compute is what its error falls by. It is predicted before the step;
the true one needs the student at both widths and the teacher's answer at the same x_t. Ranks are
compared within a picture and step, for that is what a budget is spread over: the noise level alone
would give a large correlation over all steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nitrogen.model.confidence import errors_of
from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.observation import Observation
from nitrogen.model.policies import Decision, Policy
from nitrogen.model.regions import HELD, region_mse
from nitrogen.model.row_denoiser import RowDenoiser
from nitrogen.pipelines.bench.models import Models
from nitrogen.pipelines.bench.settings import SOLVER
from nitrogen.pipelines.evaluation.residuals import array, true_denoised
from nitrogen.pipelines.metrics.bootstrap import bootstrap
from nitrogen.pipelines.metrics.ranks import spearman
from nitrogen.pipelines.sampling import Draws

BUDGET, BATCH = 0.5, 64
GAINS = {"full width over the narrowest": 1, "full width over holding": HELD}  # and the option left


@dataclass
class WatchingGains:
    """Another policy's decisions; writes down predicted and true gains, [b, regions] of a step."""

    policy: Policy
    teacher: RowDenoiser
    student: RowDenoiser
    steps: dict[str, list[tuple[np.ndarray, np.ndarray]]] = field(
        default_factory=lambda: {name: [] for name in GAINS}
    )
    needs_predictor: bool = True

    def decide(self, observation: Observation) -> Decision:
        target = true_denoised(self.teacher, self.student.arch.strided, observation)
        full = self._error(self._answer(observation, NUM_WIDTHS), target, observation)
        predicted = errors_of(observation)
        for name, option in GAINS.items():
            if option == HELD and bool((observation.step == 0).any()):
                continue  # there is nothing yet that a region could hold
            left = observation.denoised if option == HELD else self._answer(observation, option)
            true = self._error(left, target, observation) - full
            gain = predicted[..., option] - predicted[..., NUM_WIDTHS]
            self.steps[name].append((array(gain), array(true)))
        return self.policy.decide(observation)

    def _answer(self, observation: Observation, quarters: int) -> Tensor:
        asked = observation.x_t, observation.sigma, observation.labels
        return self.student(*asked, sigma_next=observation.sigma_next, quarters=quarters)[0]

    @staticmethod
    def _error(answer: Tensor, target: Tensor, observation: Observation) -> Tensor:
        return region_mse(answer, target, observation.cost.grid)


def gain_ranking(models: Models, drawn: Draws, num_steps: int) -> dict[str, Any]:
    """For each of GAINS {value, low, high, n}: Spearman's rank correlation, the mean over the steps
    of a picture; the interval is over pictures. The student under a budget, without a relay, for
    whose late steps nothing is chosen."""
    teacher = RowDenoiser(models.teacher.denoiser)
    student = RowDenoiser(models.student.denoiser, bounded=True)
    found: dict[str, list[np.ndarray]] = {name: [] for name in GAINS}
    for part in drawn.parts(BATCH):
        policy = models.student.policy("budget", None, BUDGET, num_steps)
        watching = WatchingGains(policy, teacher, student)
        with torch.inference_mode():
            models.student.sampler(watching, SOLVER).run(part.requests(num_steps, budget=BUDGET))
        for name, steps in watching.steps.items():
            found[name].append(np.stack([spearman(*step) for step in steps], axis=1))
    return {
        "num_steps": num_steps, "budget": BUDGET, "n": len(drawn),
        "gains": {name: _mean(np.concatenate(parts)) for name, parts in found.items()},
    }  # fmt: skip


def _mean(values: np.ndarray) -> dict[str, Any]:
    """values: [pictures, steps]."""
    known = values[np.isfinite(values).any(axis=1)]
    if not len(known):
        return {"value": None, "reason": "all regions gain the same, predicted or truly", "n": 0}
    return bootstrap(np.nanmean(known, axis=1)).to_dict()
