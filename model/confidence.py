"""What a prediction is taken for: errors in order, and when a region may exit."""

import torch
from torch import Tensor

from nitrogen.model.observation import Observation
from nitrogen.model.regions import HELD

PATIENCE = 2  # confident steps in a row before a region exits
WARM_UP_SHARE = 0.25  # of the steps, in which no region exits


def confident(
    observation: Observation, threshold: float | Tensor, patience: int = PATIENCE
) -> Tensor:
    """[b, rh, rw] bool: the residual is below the threshold at `patience` steps in a row, this one
    included, after a warm-up, or the region has exited before.

    A threshold that falls with sigma must have been kept as it is now at the last step, and as it
    was then at those before.
    """
    log_errors = required(observation.log_errors)
    early = observation.step < (observation.num_steps * WARM_UP_SHARE).clamp_min(2)
    below = (log_errors[..., 0].exp() < threshold) & (observation.past.quarters > HELD)
    if patience > 1:
        below = below & (observation.past.log_residual.exp() < threshold)
    if patience > 2:
        below = below & (observation.past.calm >= patience - 1)
    return (below & ~early[:, None, None]) | observation.exited


def calm_steps(observation: Observation, threshold: float | Tensor, patience: int) -> Tensor | None:
    """[b, rh, rw] steps in a row with a residual below the threshold, this one included; None
    where the last prediction says enough."""
    if patience <= 2:
        return None
    now = required(observation.log_errors)[..., 0].exp() < threshold
    return torch.where(now, observation.past.calm + 1, 0)


def errors_of(observation: Observation) -> Tensor:
    """[b, rh, rw, 5] predicted errors, never falling short of the next wider width's."""
    errors = required(observation.log_errors).exp()
    return torch.cat(
        [errors[..., :1], errors[..., 1:].flip(-1).cummax(dim=-1).values.flip(-1)], dim=-1
    )


def required(log_errors: Tensor | None) -> Tensor:
    assert log_errors is not None, "this policy needs a predictor"
    return log_errors
