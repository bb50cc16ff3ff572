"""Rows whose late steps are the full model's: what they cost, their controls, and who has them."""

import dataclasses

import pytest
import torch

from nitrogen.model.leg import Leg
from nitrogen.model.pipeline import Pipeline
from nitrogen.model.relay import Relay, RelayTable
from nitrogen.pipelines.bench.contenders import contenders, controls_of
from nitrogen.pipelines.bench.controls import Trace
from nitrogen.pipelines.bench.frontier_config import FrontierConfig
from nitrogen.pipelines.bench.methods import runner
from nitrogen.pipelines.bench.relays import all_places, relay_taken, strides_at
from nitrogen.pipelines.bench.settings import budget_method, relay_method, schedule_method

LABELS, SEEDS = [0, 1, 2], [5, 6, 7]


def draw(models, method):
    return runner(method, models)(LABELS, SEEDS)


def test_late_steps_are_whole_and_charged(relaying):
    made = draw(relaying, relay_method(strides_at(relaying, 6, 1)))
    assert made.widths[:, :, 0, 0].tolist() == [[1, 1, 4, 4, 4, 4]] * 3
    full = relaying.cost_of("student").full_flops
    assert bool((made.flops > 4 * full).all())
    assert bool((made.flops < 5.5 * full).all())


def test_a_relay_row_is_neither_the_students_nor_the_teachers(relaying):
    relay = draw(relaying, relay_method([4] * 6)).x_0
    alone = draw(relaying, schedule_method([4] * 6)).x_0
    assert not torch.allclose(relay, alone)


@pytest.mark.parametrize(
    ("steps", "budget", "planner", "expected"),
    [
        (6, 0.95, {"served": True}, True), (6, 0.95, {"relay": True}, True), (6, 0.95, {}, False),
        (6, 0.4, {"served": True}, False), (4, 0.95, {"served": True}, False),
    ],
)  # fmt: skip
def test_what_is_served_has_it_where_its_budget_pays(relaying, steps, budget, planner, expected):
    method = budget_method(steps, budget, **planner)
    assert relay_taken(relaying, method) == expected
    late = draw(relaying, method).widths[:, 2:]
    if expected:
        assert bool((late == 4).all())


def test_without_a_relay_there_are_no_rows_of_it(strided, relaying):
    groups = {True: relaying, False: strided}
    for has, models in groups.items():
        rows = [m for m in contenders(FrontierConfig.quick(), models) if m.setting.get("relay")]
        assert bool(rows) == has
        assert strides_at(models, 8, 1) == ([1, 1, 4, 4, 4, 4, 4, 4] if has else [])


def test_controls_have_the_relay_that_their_row_had(relaying):
    ours = budget_method(6, 0.95, served=True)
    drawn = draw(relaying, ours)
    trace = Trace(tuple(SEEDS), drawn.widths.numpy())
    for relay in (True, False):
        for control in controls_of(ours, trace, relay):
            if control.setting["how"] in ("random", "oracle"):
                widths = draw(relaying, control).widths
                assert torch.equal(widths.flatten(2).sort(dim=2).values,
                                   drawn.widths.flatten(2).sort(dim=2).values)  # fmt: skip
                assert relay_taken(relaying, control) == relay


@pytest.fixture(scope="module")
def chained(relaying):
    own = relaying.student
    below = Relay(own.relay.late, RelayTable({5: Leg(3, 2.0, 0.2, 3.0)}))
    relay = dataclasses.replace(own.relay, cheaper=below)
    student = Pipeline(own.denoiser, own.classes, own.predictor, relay=relay)
    return dataclasses.replace(relaying, student=student)


def test_rows_tell_which_of_two_relays_is_theirs(chained):
    assert all_places(chained) == [True, 2]
    assert strides_at(chained, 6, 1, 2) == [1, 1, 1, 4, 4, 4]
    taken = {b: relay_taken(chained, budget_method(6, b, served=True)) for b in (0.95, 0.88, 0.4)}
    assert taken == {0.95: True, 0.88: 2, 0.4: False}
    made = draw(chained, relay_method(strides_at(chained, 6, 1, 2), place=2))
    assert made.widths[:, :, 0, 0].tolist() == [[1, 1, 1, 4, 4, 4]] * 3
    ours = budget_method(6, 0.88, served=True)
    drawn = draw(chained, ours)
    for control in controls_of(ours, Trace(tuple(SEEDS), drawn.widths.numpy()), 2):
        if control.setting["how"] == "random":
            again = draw(chained, control)
            assert bool((again.widths[:, 3:] == 4).all())
            assert torch.equal(again.widths.flatten(2).sort(dim=2).values,
                               drawn.widths.flatten(2).sort(dim=2).values)  # fmt: skip
    rows = [m for m in contenders(FrontierConfig.quick(), chained) if m.setting.get("relay")]
    assert {m.setting["relay"] for m in rows} == {True, 2}
    assert len({m.name for m in rows}) == len(rows)
