"""Ceilings in time: more steps leave less for arithmetic, and nothing goes above."""

import itertools

import numpy as np
import pytest

from nitrogen.pipelines.bench import ceilings
from nitrogen.pipelines.bench.ceilings import (
    LEAST,
    NUM_PARTS,
    TIERS,
    Ceiling,
    Line,
    ceiling,
    step_flops,
    step_line,
)
from nitrogen.pipelines.metrics.timing import Timing


def test_without_overhead_a_ceiling_is_of_flops(models):
    limit = ceiling(models, "middle", 0.0)
    assert limit.flops == TIERS["middle"] * models.cost.full_flops
    student = models.cost_of("student").full_flops
    assert limit.share(8) == pytest.approx(limit.flops / (8 * student), abs=1e-4)


@pytest.mark.parametrize("tier", TIERS)
def test_steps_of_the_teacher_take_the_time_of_their_number(models, tier):
    """As many steps as the ceiling has forwards are all full, whatever a step costs beside."""
    student = models.cost_of("student")
    for overhead in (0.0, 0.3 * student.full_flops, student.full_flops):
        limit = Ceiling(TIERS[tier], student, student, overhead)
        assert limit.share(int(limit.forwards)) >= 1
        assert limit.share(int(limit.forwards) + 1) < 1
        assert limit.prices()[4] == pytest.approx(1)
        whole = Ceiling(5.0, student, student, overhead)
        assert whole.share(5) == pytest.approx(1, abs=1e-4)


def test_more_steps_leave_less_and_too_many_nothing(models):
    limit = ceiling(models, "low", 0.4 * models.cost.full_flops)
    spent = [n * limit.share(n) for n in (3, 4, 6, 8)]
    assert spent == sorted(spent, reverse=True)
    for n in (3, 4, 6, 8):
        flops = n * (limit.share(n) * models.cost_of("student").full_flops + limit.overhead)
        assert flops <= limit.flops * (1 + 1e-12)
    assert limit.share(40) == 0


def test_a_narrow_step_costs_more_than_its_arithmetic(models):
    free, dear = (ceiling(models, "low", x * models.cost.full_flops).prices() for x in (0.0, 0.4))
    assert free[0] == dear[0] == 0
    assert (np.diff(free) > 0).all()
    assert dear[1] / dear[4] > free[1] / free[4]


def test_the_line_finds_what_a_step_costs(models, drawn, monkeypatch):
    """Made-up times: 2 ms a call, 0.3 a step, 1.5 a full forward."""
    per = step_flops(models.cost_of("student")) / models.cost_of("student").full_flops

    def timed(calls, **_):
        settings = {name: [int(x) for x in name.split()] for name in calls}
        return {
            name: Timing(name, np.full(3, 2 + n * (0.3 + 1.5 * per[q])))
            for name, (q, n) in settings.items()
        }

    monkeypatch.setattr(ceilings, "time_callables", timed)
    found = step_line(models, drawn, 2)
    assert found.overhead == pytest.approx(0.2 * models.cost_of("student").full_flops)
    assert found.residual < 1e-9
    assert found.fits


def test_a_line_that_does_not_fit_is_measured_again(models, monkeypatch):
    """Beside other work: the first times say that steps cost all and arithmetic nothing."""
    full = models.cost_of("student").full_flops
    lines = [Line(full, 0.02, bounded=True), Line(0.3 * full, 0.4), Line(0.2 * full, 0.03)]
    waiting = iter([*lines, *lines[:2], lines[1]])
    monkeypatch.setattr(ceilings, "_line", lambda *_: next(waiting))
    assert step_line(models, None, 2) == lines[2]
    assert not step_line(models, None, 2).fits
    assert next(waiting, None) is None


def test_tiers_meet_and_do_not_overlap(models):
    tiers = [ceiling(models, tier, 0.0) for tier in TIERS]
    assert tiers[0].least == LEAST
    for lower, upper in itertools.pairwise(tiers):
        assert upper.least == lower.forwards
        assert lower.holds(lower.flops)
        assert not upper.holds(lower.flops)


def test_parts_of_a_tier_begin_at_its_ceiling_and_stay_inside(models):
    limit = ceiling(models, "middle", 0.2 * models.cost.full_flops)
    parts = limit.parts()
    assert len(parts) == NUM_PARTS
    assert parts[0] == limit
    assert all(limit.holds(part.flops) for part in parts)
