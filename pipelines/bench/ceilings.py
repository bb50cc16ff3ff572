"""Tiers between ceilings in time: what a step costs beside its arithmetic, and what that leaves.

Milliseconds are a + b steps + c FLOPs, to 3 % (docs/LOG.md, 2026-11-26), so one number is the
whole table of latencies: b / c, the FLOPs that the time of an empty step would pay for. A ceiling
in FLOPs alone would take ever more and narrower steps, which cost more time than they save.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from nitrogen.model.cost import CostModel
from nitrogen.pipelines.bench.forecast import width_flops
from nitrogen.pipelines.bench.methods import runner, slices
from nitrogen.pipelines.bench.models import Models
from nitrogen.pipelines.bench.rounds import part_of
from nitrogen.pipelines.bench.settings import schedule_method
from nitrogen.pipelines.bench.twins import with_twins
from nitrogen.pipelines.metrics.timing import time_callables
from nitrogen.pipelines.sampling import Draws

# The time of as many forwards of the full model. Between whole steps, as what a user may wait for
# is: at a whole number the best was as many full steps, and nothing was left to choose.
TIERS = {"low": 2.5, "middle": 4.5, "high": 7.5}
# Where the lowest tier begins; another begins at the ceiling of the tier below it. Two steps of the
# full model are a blur, and what is no better is no picture, however little it cost.
LEAST = 1.5
NUM_PARTS = 4  # of a tier, that are looked at: half a forward each, or a little more
MAX_SHARE = 2.0  # that a request may ask for
WIDTHS, STEPS, REPEATS = (1, 2, 4), (3, 7), 9
FITS, TRIES = 0.1, 3  # what a line leaves on an idle machine is 0.03; beside other work it is noise


@dataclass(frozen=True)
class Ceiling:
    """The time of `forwards` steps of the teacher at full width.

    teacher, student: what their steps cost; overhead: FLOPs that a step's fixed time would pay for;
    least: forwards that a tier's choice takes at least, for below them is another tier.
    """

    forwards: float
    teacher: CostModel
    student: CostModel
    overhead: float
    least: float = 0.0

    @property
    def flops(self) -> float:
        """The whole of it, were there no steps."""
        return self.forwards * self.forward

    @property
    def forward(self) -> float:
        """A step of the teacher."""
        return self.teacher.full_flops + self.overhead

    def parts(self) -> tuple[Ceiling, ...]:
        """The ceiling itself and lower ones, evenly down to `least`, which is left out."""
        part = (self.forwards - self.least) / NUM_PARTS
        return tuple(replace(self, forwards=self.forwards - k * part) for k in range(NUM_PARTS))

    def holds(self, spent: float) -> bool:
        """Whether so many FLOPs are of this tier, and of none below or above it."""
        return self.least * self.forward < spent <= self.flops

    def share(self, num_steps: int) -> float:
        """What it leaves for num_steps, as the share of the student's full steps that requests are
        charged by; rounded down, so that a rounding never spends more. 0 where the steps alone are
        too dear; above 1 where there is room for the predictor beside everything at full width."""
        left = self.flops - num_steps * self.overhead
        share = math.floor(1e4 * left / (self.student.full_flops * num_steps)) / 1e4
        return min(MAX_SHARE, max(0.0, share))

    def prices(self) -> np.ndarray:
        """[5] what a step of the student takes of it at 0, 1, .. 4 quarters, in `forwards`; a step
        that keeps the last D is not run."""
        flops = step_flops(self.student) + self.overhead
        flops[0] = 0.0
        return flops * self.forwards / self.flops


def ceiling(models: Models, tier: str, overhead: float) -> Ceiling:
    """Of a tier of TIERS, above the one below it."""
    below = max((most for most in TIERS.values() if most < TIERS[tier]), default=LEAST)
    return Ceiling(TIERS[tier], models.cost, models.cost_of("student"), overhead, below)


def step_flops(cost: CostModel) -> np.ndarray:
    """[5] FLOPs of a step at 0, 1, .. 4 quarters; none at 0."""
    return np.array([width_flops(cost, quarters) for quarters in range(5)])


@dataclass(frozen=True)
class Line:
    """overhead: FLOPs that a step's fixed time would pay for; residual: root mean square of what
    the line leaves, over the mean time; bounded: whether the times asked for an overhead above a
    forward."""

    overhead: float
    residual: float
    bounded: bool = False

    @property
    def fits(self) -> bool:
        return self.residual <= FITS and not self.bounded


def step_line(models: Models, drawn: Draws, batch: int) -> Line:
    """A line through the student's own times at several widths and numbers of steps, measured side
    by side; its overhead is never below 0 or above a forward. Measured again where it does not fit:
    the best of TRIES."""
    lines = []
    for _ in range(TRIES):
        lines.append(_line(models, drawn, batch))
        if lines[-1].fits:
            break
    return min(lines, key=lambda line: (line.bounded, line.residual))


def _line(models: Models, drawn: Draws, batch: int) -> Line:
    cost = models.cost_of("student")
    part = part_of(drawn, 0, batch)
    settings = [(q, n) for q in WIDTHS for n in STEPS]
    # By the adaptive path's operators, as ours and the schedules are timed.
    rows = {one: with_twins([schedule_method(slices(*one))])[-1] for one in settings}
    calls = {f"{q} {n}": partial(runner(rows[q, n], models), *part) for q, n in settings}
    times = time_callables(calls, repeats=REPEATS, images_per_call=batch)
    ms = np.array([times[f"{q} {n}"].p50 for q, n in settings])
    steps = np.array([n for _, n in settings])
    flops = np.array([n * width_flops(cost, q) for q, n in settings]) / cost.full_flops
    points = np.stack([np.ones(len(ms)), steps, flops], axis=1)
    found = np.linalg.lstsq(points, ms, rcond=None)[0]
    _, a_step, a_forward = found
    asked = float(a_step / a_forward) if a_forward > 0 else math.inf
    forwards = min(1.0, max(0.0, asked))
    residual = float(np.sqrt(np.mean((points @ found - ms) ** 2)) / ms.mean())
    return Line(forwards * cost.full_flops, residual, bounded=asked > forwards)
