"""How many replicas the endpoint needs: a pure function from an observation to a decision.

Two demands are computed and the larger one wins: by count (requests that run or wait, over the
target per replica) and by work (predicted GFLOPs that wait, over what one replica finishes within
the wished waiting time). Twenty cheap requests may need fewer replicas than three dear ones.
"""

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Observation:
    """What is known about the endpoint now.

    `pending_gflops` is the predicted work of all requests that run or wait, `gflops_per_s` what one
    replica was measured to finish in a second; None where unknown.
    """

    num_replicas: int
    num_running: float
    num_queued: float
    pending_gflops: float | None = None
    gflops_per_s: float | None = None


@dataclass(frozen=True)
class Bounds:
    """`target_ongoing` requests per replica; `max_wait_s` the wished bound on waiting, seconds."""

    min_replicas: int = 1
    max_replicas: int = 1
    target_ongoing: float = 2.0
    max_wait_s: float = 5.0

    def __post_init__(self) -> None:
        if not 0 <= self.min_replicas <= self.max_replicas or self.max_replicas < 1:
            raise ValueError(
                "autoscaling.min_replicas must be between 0 and max_replicas, got "
                f"{self.min_replicas} and {self.max_replicas}. Raise max_replicas."
            )
        if self.target_ongoing <= 0 or self.max_wait_s <= 0:
            raise ValueError(
                "autoscaling.target_ongoing and max_wait_s must be positive, got "
                f"{self.target_ongoing} and {self.max_wait_s}. Use 2 and 5."
            )


@dataclass(frozen=True)
class Decision:
    num_replicas: int
    reason: str


def decide(observation: Observation, bounds: Bounds) -> Decision:
    """The wished number of replicas and why; delays and smoothing are Serve's own.

    Growth is immediate. Shrinking keeps one replica more than needed until the load fits in 80 %
    of what would be left, so that a load at the border does not flap.
    """
    demand, reason = _demand(observation, bounds)
    wished = max(1 if demand > 0 else 0, math.ceil(demand - 1e-9))
    current = observation.num_replicas
    if 0 < wished < current and demand > 0.8 * wished:
        wished, reason = wished + 1, f"{reason}; shrinking waits for 20 % of slack"
    bounded = min(max(wished, bounds.min_replicas), bounds.max_replicas)
    if bounded > wished:
        reason = f"{reason}; at the minimum of {bounds.min_replicas}"
    elif bounded < wished:
        reason = f"{reason}; {wished} wanted, capped at the maximum of {bounds.max_replicas}"
    return Decision(bounded, reason)


def _demand(observation: Observation, bounds: Bounds) -> tuple[float, str]:
    """Replicas needed, as a real number, and the sentence that says which demand leads."""
    ongoing = max(0.0, observation.num_running) + max(0.0, observation.num_queued)
    by_count = ongoing / bounds.target_ongoing
    reason = f"{ongoing:g} requests at {bounds.target_ongoing:g} per replica"
    if observation.pending_gflops and observation.gflops_per_s:
        by_work = observation.pending_gflops / (observation.gflops_per_s * bounds.max_wait_s)
        if by_work > by_count:
            return by_work, (
                f"{observation.pending_gflops:g} GFLOPs pending at {observation.gflops_per_s:g} "
                f"GFLOP/s per replica within {bounds.max_wait_s:g} s"
            )
    return by_count, reason


def serve_policy(context: Any) -> tuple[int, dict[str, Any]]:
    """The same decision as a Ray Serve autoscaling policy (by count; Serve applies its delays).

    `context` is a `ray.serve.config.AutoscalingContext`. Returns (replicas, state for the log).
    """
    bounds = Bounds(
        min_replicas=context.capacity_adjusted_min_replicas,
        max_replicas=max(1, context.capacity_adjusted_max_replicas),
        target_ongoing=context.config.get_target_ongoing_requests(),
    )
    observation = Observation(
        num_replicas=context.current_num_replicas,
        num_running=context.total_running_requests,
        num_queued=context.total_queued_requests or 0.0,
    )
    decision = decide(observation, bounds)
    return decision.num_replicas, {"reason": decision.reason}
