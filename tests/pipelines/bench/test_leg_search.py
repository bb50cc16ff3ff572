"""The search of a relay's legs: no worse than its start, and what it says can be run."""

import dataclasses

import pytest

from nitrogen.model.relay import RelayTable
from nitrogen.pipelines.bench import leg_search
from nitrogen.pipelines.bench.leg_search import START, LegSearch
from nitrogen.pipelines.bench.quality import reference
from nitrogen.platform.errors import DataError


@pytest.fixture
def search(strided, drawn, extract, monkeypatch):
    for name, values in (("SIGMAS", (2.0, 8.0)), ("SIGMA_MINS", (0.2,)), ("RHOS", (5.0,))):
        monkeypatch.setattr(leg_search, name, values)
    return LegSearch(strided, drawn, reference(strided, drawn), extract)


def test_the_leg_is_no_worse_than_the_start_and_its_error_is_its_own(search):
    leg, error = search.best(5)
    assert error <= search.of_leg(5, START)
    assert error == search.of_leg(5, leg)
    assert RelayTable.from_json({"5": list(dataclasses.astuple(leg))}).rows == {5: leg}


def test_the_best_of_each_number_is_kept(search, monkeypatch):
    monkeypatch.setattr(LegSearch, "of_leg", lambda self, n, leg: leg.sigma + leg.sigma_min)
    leg, error = search.best(6)
    assert (leg.sigma, leg.sigma_min, leg.rho) == (2.0, START.sigma_min, START.rho)
    assert error == 2.0 + START.sigma_min


def test_the_full_model_alone_is_compared_on_levels_of_its_own(search):
    assert 0 <= search.of_teacher(6) < search.of_teacher(4)


def test_strides_leave_steps_for_the_full_model(search):
    with pytest.raises(DataError, match="2 steps after"):
        search.best(3)


def test_a_student_that_is_not_strided_is_refused(models, extract):
    with pytest.raises(DataError, match="strided"):
        leg_search.run_leg_search(models, extract, print, (5,), 2, 4)
