"""The row for time saved at equal steps: the least budget that is as near as the teacher."""

import pytest

from nitrogen.model.errors import BudgetError
from nitrogen.pipelines.bench.saving import BUDGETS, Distance, saving_budget
from nitrogen.pipelines.bench.settings import SAVING


def looking(nearest, floor=0.0):
    """The teacher is at distance 10; ours falls to as near at budget nearest[steps]."""
    asked = []

    def look(method):
        steps, budget = method.setting["num_steps"], method.setting.get("budget")
        asked.append((steps, budget))
        if budget is None:
            return Distance(10.0, float(steps))
        if budget < floor:
            raise BudgetError("too little")
        return Distance(10.0 + nearest[steps] - budget, steps * budget)

    return look, asked


def test_the_least_budget_that_is_as_near_is_taken():
    look, asked = looking({3: 0.6, 4: 0.45, 5: 0.9})
    found = saving_budget(look, (3, 4, 5), served=True)
    assert (found.setting["num_steps"], found.setting["budget"]) == (4, 0.45)
    assert found.setting["served"]
    assert found.name == SAVING
    assert len([one for one in asked if one[1] is not None]) <= 3 * len(BUDGETS).bit_length()


def test_a_budget_below_the_cheapest_plan_is_passed_over():
    look, _ = looking({3: 0.1}, floor=0.42)
    assert saving_budget(look, (3,), served=False).setting["budget"] == 0.45


def test_none_where_ours_is_never_as_near_or_distances_are_not_defined():
    look, _ = looking({3: 1.5})
    assert saving_budget(look, (3,), served=True) is None
    assert saving_budget(lambda method: Distance(None, 1.0), (3, 4), served=True) is None


def test_a_row_that_costs_more_saves_nothing():
    def look(method):
        return Distance(1.0, 1.0 if method.group == "teacher" else 1.5)

    assert saving_budget(look, (3,), served=True) is None


@pytest.mark.parametrize("nearest", BUDGETS)
def test_every_budget_can_be_found(nearest):
    look, _ = looking({3: nearest})
    assert saving_budget(look, (3,), served=True).setting["budget"] == nearest
