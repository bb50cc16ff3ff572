"""Which rows leave their last steps to the full model, and what widths their steps then have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.policies import Budget
from nitrogen.model.request import Request
from nitrogen.pipelines.bench.models import Models

if TYPE_CHECKING:
    from nitrogen.pipelines.bench.methods import Method


def asks_for_relay(setting: Mapping[str, Any]) -> bool:
    """Whether late steps are the full model's where the budget pays for them: asked for, or as a
    user of the library gets it."""
    return bool(setting.get("relay") or setting.get("served"))


def has_relay(models: Models, method: Method) -> bool:
    """Whether they are: there is a relay for so many steps, and the budget does."""
    s, pipeline = method.setting, models.get(method.model)
    if not asks_for_relay(s) or pipeline.relay is None:
        return False
    request = Request(0, 0, s["num_steps"], method.guidance, s.get("budget"))
    return pipeline.sampler(Budget(), s["solver"]).leg(request) is not None


def strides_at(models: Models, num_steps: int, quarters: int) -> list[int]:
    """Widths of a relay's steps, its strides at `quarters`; none where there is no relay."""
    relay = models.student.relay
    leg = relay.table.leg(num_steps) if relay else None
    if leg is None:
        return []
    return [quarters] * leg.early + [NUM_WIDTHS] * (num_steps - leg.early)
