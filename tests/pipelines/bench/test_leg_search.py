"""The search of a relay's legs: no worse than its start, and what it says can be run."""

import dataclasses
import math

import pytest

from nitrogen.model.leg import Leg
from nitrogen.model.schedules import KARRAS
from nitrogen.pipelines.bench import leg_search
from nitrogen.pipelines.bench.hull import lower_hull
from nitrogen.pipelines.bench.kept_looks import ErrorAtCost, Looks
from nitrogen.pipelines.bench.leg_search import (
    START,
    LegSearch,
    run_leg_search,
    worth,
)
from nitrogen.pipelines.bench.tuning import Tuning
from nitrogen.pipelines.steps.distill import DistillConfig
from nitrogen.platform.errors import ConfigError


@pytest.fixture
def few(monkeypatch):
    for name, values in (("SIGMAS", (2.0, 8.0)), ("SIGMA_MINS", (0.2,)), ("RHOS", (5.0,)),
                         ("FULL_STEPS", (3, 4))):  # fmt: skip
        monkeypatch.setattr(leg_search, name, values)


@pytest.fixture
def search(strided, drawn, extract, few, tmp_path):
    looks = Looks.of(strided, extract, tmp_path, leg_search.__name__)
    return LegSearch(Tuning(strided, drawn, looks.target(strided, drawn), extract, 0.0), looks)


def test_the_leg_is_no_worse_than_the_start(search):
    leg = search.best(5)
    assert search.relay(5, leg).error <= search.relay(5, START).error
    assert search.relay(5, leg) == search.relay(5, leg), "the same pictures again"


def test_the_best_of_each_number_is_kept(search, monkeypatch):
    monkeypatch.setattr(
        LegSearch, "relay", lambda self, n, leg: ErrorAtCost(leg.sigma - leg.rho, 0)
    )
    search = dataclasses.replace(search, strides=(1, 1, 1))
    assert search.best(6) == Leg(3, 2.0, START.sigma_min, 5.0)


def test_a_relay_costs_its_late_steps_and_narrow_strides(search, strided):
    narrow = search.relay(5, START).forwards - 3
    assert 0.2 < narrow / 2 < 0.6, "two strides of a quarter's width"
    wider = dataclasses.replace(search, strides=(1, 4)).relay(5, START).forwards - 3
    assert wider == pytest.approx(narrow / 2 + 1, abs=0.1)


def test_the_full_model_has_the_better_of_its_own_levels_and_the_legs(search):
    legs = [Leg(2, 3.0, 0.3, 3.0), Leg(5, 3.0, 0.3, 3.0)]
    best = search.full_model(5, search.best_levels(5, legs)).error
    assert best < search.full_model(5, KARRAS).error
    relays = dataclasses.replace(KARRAS, sigma_min=0.3, rho=3.0, strides=2, knee=3.0)
    assert best <= search.full_model(5, relays).error


def test_of_one_late_step_the_change_alone_is_searched(search, monkeypatch):
    asked = []
    monkeypatch.setattr(
        LegSearch, "relay", lambda self, n, leg: asked.append(leg) or ErrorAtCost(1, 0)
    )
    search.best(3)
    assert {(leg.sigma_min, leg.rho) for leg in asked} == {(START.sigma_min, START.rho)}


def test_what_a_leg_is_worth_is_read_off_the_full_models_hull():
    hull = lower_hull([2, 4, 8], [4.0, 2.0, 1.0])
    assert worth(2.0, hull) == pytest.approx(4)
    assert worth(1.5, hull) == pytest.approx(math.sqrt(32))
    assert worth(4.1, hull) is None
    assert worth(0.9, hull) is None


def test_what_is_found_stands_in_a_recipe(strided, extract, few, tmp_path):
    found = run_leg_search(strided, tmp_path, extract, lambda text: None, (3, 5), (1, 4), 4)
    config = DistillConfig(student={"strided": True}, relay=found["relay"])
    assert set(config.relay) == {3, 5}
    assert found["full_model"].keys() == {"3", "4"}


def test_a_search_that_was_cut_off_looks_at_nothing_twice(search, monkeypatch):
    leg, error = search.best(5), search.full_model(3, KARRAS)
    monkeypatch.setattr(LegSearch, "_relay", lambda *_: pytest.fail("the leg was kept"))
    monkeypatch.setattr(Tuning, "error", lambda *_: pytest.fail("the full model was kept"))
    assert search.best(5) == leg
    assert search.full_model(3, KARRAS) == error
    with pytest.raises(pytest.fail.Exception):
        dataclasses.replace(search, strides=(1, 4)).best(5)


@pytest.mark.parametrize(("steps", "strides"), [(3, (1, 1, 1)), (1001, (1, 1)), (5, ())])
def test_steps_without_room_are_refused_before_anything_is_drawn(steps, strides, extract, tmp_path):
    with pytest.raises(ConfigError, match="--stride must be given for 1 to steps - 1"):
        run_leg_search(None, tmp_path, extract, print, (6, steps), strides, 4)


def test_a_width_that_there_is_not_is_refused(extract, tmp_path):
    with pytest.raises(ConfigError, match="--stride must be 1 to 4 quarters"):
        run_leg_search(None, tmp_path, extract, print, (6,), (1, 5), 4)


def test_a_student_that_is_not_strided_is_refused(models, extract, tmp_path):
    with pytest.raises(ConfigError, match=r"distill\.student\.strided"):
        run_leg_search(models, tmp_path, extract, print, (5,), (1, 1), 4)
