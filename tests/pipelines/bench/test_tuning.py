"""What a search takes of the settings that it looked at."""

import math

import pytest

from nitrogen.model.cost import CostModel
from nitrogen.model.errors import BudgetError
from nitrogen.pipelines.bench.ceilings import Ceiling
from nitrogen.pipelines.bench.hull import lower_hull
from nitrogen.pipelines.bench.settings import budget_method
from nitrogen.pipelines.bench.tuning import (
    EXIT_THRESHOLDS,
    Tried,
    Tuning,
    best_settings,
    most_saved,
    saved,
    tuned_budget,
)

FULL_MODEL = lower_hull([2.0, 4.0, 8.0], [4.0, 2.0, 1.0])  # forwards, error


def look(error: float, spent: float) -> Tried:
    return Tried(error, spent, budget_method(8, 0.9))


@pytest.fixture
def limit(models):
    """The tier from 2 to 6 units of 1 FLOP."""
    cost = CostModel(models.arch, 32, 32)
    return Ceiling(6.0, cost, cost, 1.0 - cost.full_flops, least=2.0)


def test_what_is_saved_is_the_full_models_compute_at_that_error_over_ours():
    assert math.exp(saved(look(2.0, 2.0), FULL_MODEL)) == pytest.approx(2.0)
    assert math.exp(saved(look(1.5, 2.0), FULL_MODEL)) == pytest.approx(math.sqrt(4 * 8) / 2)
    assert math.exp(saved(look(0.1, 4.0), FULL_MODEL)) == pytest.approx(2.0), "its best"
    assert saved(look(4.1, 0.5), FULL_MODEL) == -math.inf, "worse than all of them"


def test_the_largest_saving_within_the_tier_is_taken_not_the_least_error(limit):
    near, saves = look(1.0, 6.0), look(2.0, 2.5)
    assert most_saved([near, saves], FULL_MODEL, limit) is saves
    below, above = look(4.0, 0.5), look(1.0, 6.5)
    assert most_saved([below, above, near], FULL_MODEL, limit) is near
    assert most_saved([below, above], FULL_MODEL, limit) is above, "the nearest, where none is in"
    bad, worse = look(5.0, 4.0), look(6.0, 2.5)
    assert most_saved([worse, bad], FULL_MODEL, limit) is bad, "not the cheapest"


def test_settings_are_ranked_by_their_better_planner(limit):
    def of(steps, error, **planner):
        return Tried(error, 4.0, budget_method(steps, 0.9, **planner))

    looks = [of(4, 2.0), of(4, 3.9, served=True), of(5, 2.5), of(5, 2.4, served=True)]
    best = best_settings(looks, FULL_MODEL, limit)
    assert [(m.setting["num_steps"], m.setting.get("served")) for m in best] == [
        (4, None),
        (5, True),
    ]


def test_a_search_prices_the_best_setting_and_tries_exits(models, drawn, extract, monkeypatch):
    asked = []

    def made_up(tuning, method):
        asked.append(method.setting)
        steps = method.setting["num_steps"]
        if steps == 6:
            raise BudgetError("too little")
        return Tried(1.0 if steps == 5 else 2.0, 4.0 * models.cost.full_flops, method)

    monkeypatch.setattr(Tuning, "look", made_up)
    tuning = Tuning(
        models, drawn, None, extract, 0.0, num_steps=(4, 5, 6), num_priced=1, known=FULL_MODEL
    )
    [chosen] = tuned_budget(tuning, "middle")
    assert chosen.setting["num_steps"] == 5
    assert {s["num_steps"] for s in asked if "price" in s} == {5}
    assert {s["threshold"] for s in asked} == set(EXIT_THRESHOLDS)
