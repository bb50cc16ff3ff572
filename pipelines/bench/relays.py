"""Which rows leave their last steps to the full model, and what widths their steps then have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.pipeline import Pipeline
from nitrogen.model.policies import Budget
from nitrogen.model.relay import Relay
from nitrogen.model.request import Request
from nitrogen.model.sampler import Sampler
from nitrogen.pipelines.bench.models import Models

if TYPE_CHECKING:
    from nitrogen.pipelines.bench.methods import Method

Place = bool | int  # among the relays of a student: True, 2, ... from the dearest on; False: none


def relay_asked(pipeline: Pipeline, setting: Mapping[str, Any]) -> Relay | None:
    """Whose late steps are the full model's where the budget pays for them: asked for, or as a user
    of the library gets it. setting: relay, True for the dearest, 2 for the one below it, ..."""
    if not (setting.get("relay") or setting.get("served")) or pipeline.relay is None:
        return None
    return dict(places(pipeline.relay)).get(setting.get("relay") or True)


def relay_taken(models: Models, method: Method) -> Place:
    """The relay that has a leg for so many steps and that the budget pays for; False for none."""
    s, pipeline = method.setting, models.get(method.model)
    asked = relay_asked(pipeline, s)
    if asked is None or pipeline.relay is None:
        return False
    request = Request(0, 0, s["num_steps"], method.guidance, s.get("budget"))
    sampler = Sampler(pipeline.denoiser, Budget(), predictor=pipeline.predictor, relay=asked)
    taken = sampler.relay_of(request)
    return next((place for place, relay in places(pipeline.relay) if relay is taken), False)


def places(relay: Relay) -> Iterator[tuple[Place, Relay]]:
    """What a setting calls each of them."""
    for at, one in enumerate(relay.each(), 1):
        yield (True if at == 1 else at), one


def strides_at(models: Models, num_steps: int, quarters: int, place: Place = True) -> list[int]:
    """Widths of a relay's steps, its strides at `quarters`; none where there is no relay."""
    relay = relay_asked(models.student, {"relay": place})
    leg = relay.table.leg(num_steps) if relay else None
    if leg is None:
        return []
    return [quarters] * leg.early + [NUM_WIDTHS] * (num_steps - leg.early)


def all_places(models: Models) -> list[Place]:
    relay = models.student.relay
    return [place for place, _ in places(relay)] if relay else []
