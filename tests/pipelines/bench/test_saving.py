"""The rows for time saved at equal steps: the least budget that is about as near as the teacher."""

from types import SimpleNamespace

import numpy as np
import pytest

from nitrogen.model.errors import BudgetError
from nitrogen.pipelines.bench.saving import BUDGETS, MAX_DISTANCE, Worth, saving_budget, to_the_data
from nitrogen.pipelines.metrics.kernel import kernel_distance


def judged(nearest, floor=0.0):
    """The teacher is at distance 10; ours falls to what is allowed at budget `nearest`."""
    asked = []

    def worth(method):
        steps, budget = method.setting["num_steps"], method.setting.get("budget")
        asked.append(budget)
        if budget is None:
            return Worth(10.0, float(steps))
        if budget < floor:
            raise BudgetError("too little")
        return Worth(MAX_DISTANCE * 10.0 + nearest - budget, steps * budget)

    return worth, asked


@pytest.mark.parametrize("nearest", BUDGETS)
def test_the_least_budget_that_is_as_near_is_taken(nearest):
    worth, asked = judged(nearest)
    found = saving_budget(worth, 4, served=True)
    assert (found.setting["num_steps"], found.setting["budget"]) == (4, nearest)
    assert found.setting["served"]
    assert found.setting["saving"]
    assert asked[0] is None
    assert len(asked) <= 1 + len(BUDGETS).bit_length()


def test_a_budget_below_the_cheapest_plan_is_passed_over():
    worth, _ = judged(0.1, floor=0.43)
    found = saving_budget(worth, 3, served=False)
    assert found.setting["budget"] == min(budget for budget in BUDGETS if budget >= 0.43)
    assert "served" not in found.setting


def test_a_distance_that_jumps_where_a_relay_begins_is_bisected_on_either_side():
    def worth(method):
        budget = method.setting.get("budget")
        if budget is None:
            return Worth(10.0, 4.0)
        return Worth(10.2 if 0.5 <= budget < 0.7 else 11.0, 4 * budget)

    assert saving_budget(worth, 4, True, relays_from=[0.7]).setting["budget"] == 0.5


def test_between_two_relays_is_bisected_too():
    def worth(method):
        budget = method.setting.get("budget")
        if budget is None:
            return Worth(10.0, 4.0)
        return Worth(9.0 if 0.62 <= budget < 0.7 or budget > 0.9 else 11.0, 4 * budget)

    assert saving_budget(worth, 4, True, relays_from=[0.5, 0.7]).setting["budget"] == 0.62


def test_none_where_ours_is_never_as_near_or_costs_as_much():
    worth, _ = judged(1.5)
    assert saving_budget(worth, 3, served=True) is None
    assert saving_budget(lambda method: Worth(1.0, 1.0), 3, served=True) is None


def test_without_pictures_enough_the_distance_is_to_the_training_split_still():
    features = np.random.default_rng(0).normal(size=(2, 20, 8))
    yardstick = SimpleNamespace(
        extract=lambda images: features[0], fd=lambda found: None, train=features[1]
    )
    assert to_the_data(yardstick, None) == kernel_distance(features[0], features[1]).value
    yardstick.fd = lambda found: SimpleNamespace(value=7.0)
    assert to_the_data(yardstick, None) == 7.0
