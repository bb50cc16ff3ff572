"""How long a benchmark takes: the work of every part in FLOPs, and the time that is left.

A part's FLOPs come from the cost model before it runs. The rate starts as that of 2 slow cores and
becomes what is measured; parts that are at hand already are work for nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch

from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.cost import CostModel
from nitrogen.model.shell import shell_flops
from nitrogen.pipelines.bench.methods import Method
from nitrogen.pipelines.bench.models import Models
from nitrogen.pipelines.sampling import forwards

ASSUMED_FLOPS_PER_S = 1e11
ASSUMED_S = 20.0  # of measured work that the assumption counts for
USUAL_SHARE = 0.7  # of full compute, for rows whose pictures decide
ORACLE_FORWARDS = 12  # a step: 4 widths of the student, 8 evaluations of the teacher

Say = Callable[[str], None]


class Forecast:
    """Parts by name with their FLOPs, taken off as they are done; says what is left."""

    def __init__(self, say: Say, clock: Callable[[], float] = time.monotonic):
        self._say, self._clock = say, clock
        self._waiting: dict[str, float] = {}
        self._done_flops, self._done_s = ASSUMED_FLOPS_PER_S * ASSUMED_S, ASSUMED_S

    def expect(self, parts: Mapping[str, float]) -> None:
        """Work to come: FLOPs by name; a name that is known is corrected."""
        self._waiting |= parts

    def drop(self, name: str) -> None:
        """It is at hand, or is not needed."""
        self._waiting.pop(name, None)

    @property
    def left_s(self) -> float:
        return sum(self._waiting.values()) * self._done_s / self._done_flops

    def say(self, text: str) -> None:
        """The text, and the time that is left."""
        self._say(f"[{minutes(self.left_s)} left] {text}")

    @contextmanager
    def working(self, name: str) -> Iterator[None]:
        """Says what is done now; its time makes the forecast better."""
        self.say(name)
        began = self._clock()
        yield
        self._count(self._waiting.pop(name, 0.0), self._clock() - began)

    def part(self, name: str, left: float, taken_s: float) -> None:
        """Within `name`: `left` FLOPs to go; what was done since the last call took taken_s."""
        done = self._waiting.get(name, left) - left
        self._waiting[name] = left
        self._count(max(0.0, done), taken_s)

    def _count(self, flops: float, seconds: float) -> None:
        if flops:  # what nobody expected says nothing about the rate
            self._done_flops, self._done_s = self._done_flops + flops, self._done_s + seconds


def minutes(seconds: float) -> str:
    """`2 h 05 min`, `12 min` or `40 s`."""
    whole = max(0, round(seconds))
    if whole < 90:
        return f"{whole} s"
    hours, rest = divmod(round(whole / 60), 60)
    return f"{hours} h {rest:02d} min" if hours else f"{rest} min"


def picture_flops(method: Method, models: Models) -> float:
    """About the FLOPs of one picture by this method; exact where no picture decides."""
    s, cost = method.setting, models.cost_of(method.model)
    steps, full = s["num_steps"], float(cost.full_flops)
    branches = 2 if method.guidance != 1 else 1
    if method.trace is not None:
        return _trace_flops(method, cost, steps * full)
    if "widths" in s:
        each = [width_flops(cost, q) for q in s["widths"]]
        heun = s["solver"] == "heun" and not cost.arch.strided
        return branches * (sum(each) + (sum(each[:-1]) if heun else 0.0))
    if method.kind == "dense":
        return branches * forwards(steps, s["solver"]) * full
    if method.kind.startswith("deep_cache"):
        whole = -(-steps // s["interval"])
        return whole * full + (steps - whole) * shell_flops(cost)
    share = s.get("budget") or (s["share"] if method.kind == "ras" else USUAL_SHARE)
    return branches * steps * full * (1.0 if method.kind == "ignored" else share)


def width_flops(cost: CostModel, quarters: int) -> float:
    """Of one forward with everything at one width; nothing at 0."""
    if quarters == 0:
        return 0.0
    assert quarters <= NUM_WIDTHS
    return cost.fixed_flops + cost.num_regions * float(cost.region_flops[quarters])


def _trace_flops(method: Method, cost: CostModel, full: float) -> float:
    """Of the plans that a control plays; the oracle asks for more than it plays."""
    assert method.trace is not None
    widths = torch.from_numpy(method.trace.widths.astype("int64"))
    regions = cost.region_flops[widths].flatten(2).sum(dim=2)
    played = torch.where(regions > 0, regions + cost.fixed_flops, 0.0).sum(dim=1).mean()
    asked = ORACLE_FORWARDS * full if method.setting["how"] == "oracle" else 0.0
    return float(played) + asked
