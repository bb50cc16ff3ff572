"""What stands in where the predictor's answer is not finite: a schedule of widths for that step.

A broken weight or feature makes NaN of every gain, and then nothing would be computed. Such a
sample is planned by its noise level alone, for this step and under the same ceiling; it exits
nowhere, its batch mates are not touched, and the step is counted.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from nitrogen.kernels.dispatch import holds
from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.observation import Observation
from nitrogen.model.policies import Decision
from nitrogen.model.regions import Plan
from nitrogen.model.spending import step_share

LOG_HALF = -math.log(2)


def mended(observation: Observation) -> tuple[Observation, Tensor | None]:
    """The observation with log errors that are finite, and [b] bool: whose were not.

    None where nobody's were not, as far as that is known without waiting for a GPU or ending a
    compiler's graph. Where none is known each width halves the error, so that a plan which has to
    be cut loses width evenly; it grows with age, so that a tight budget computes regions in turn.
    """
    errors = observation.log_errors
    if errors is None:
        return observation, None
    # They are bounded, so that only what is not finite makes their sum so.
    if not errors.is_cuda and holds(errors.sum().isfinite()):
        return observation, None
    failed = ~errors.isfinite().flatten(1).all(dim=1)
    halvings = torch.arange(NUM_WIDTHS + 1, device=errors.device)
    guess = observation.past.age.log1p()[..., None] + LOG_HALF * halvings
    log_errors = torch.where(failed[:, None, None, None], guess, errors)
    return replace(observation, log_errors=log_errors), failed


def stand_in(
    decision: Decision, schedule: Decision, failed: Tensor, observation: Observation
) -> Decision:
    """`decision`, and the schedule's for the samples in `failed` [b] bool."""
    each = failed[:, None, None]
    widths = torch.where(each, schedule.plan.widths, decision.plan.widths)
    exits = torch.where(each, observation.exited, decision.exits)
    calm = None if decision.calm is None else torch.where(each, 0, decision.calm)
    if decision.room is None and schedule.room is None:
        return Decision(Plan(widths), exits, calm=calm)
    equal = step_share(observation)
    safe, own = (equal if made.room is None else made.room for made in (schedule, decision))
    return Decision(Plan(widths), exits, torch.where(failed, safe, own), calm)
