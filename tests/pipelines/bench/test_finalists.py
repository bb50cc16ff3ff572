"""Which of a tier's best settings goes on, and which of them is taken."""

import math

import pytest

from nitrogen.pipelines.bench.finalists import (
    NUM_FINALISTS,
    Judged,
    best_finalist,
    finalists,
    saved_by_both,
)
from nitrogen.pipelines.bench.hull import lower_hull
from nitrogen.pipelines.bench.settings import budget_method
from nitrogen.pipelines.bench.tuning import Tried

HULL = lower_hull([2.0, 4.0, 8.0], [4.0, 2.0, 1.0])  # FLOPs, error
FULL_MODEL = [Judged(4.0, 8.0, 2.0), Judged(2.0, 4.0, 4.0), Judged(1.0, 2.0, 8.0)]


def look(error: float, spent: float, relay: int = 0) -> Tried:
    return Tried(error, spent, budget_method(8, 0.9, relay=relay))


def relay_of(method):
    return method.setting["relay"]


def test_the_best_few_of_every_kind_go_on_the_best_first(limit):
    alone = [look(1.0 + 0.1 * k, 4.0) for k in range(4)]
    relay = [look(3.0, 4.0, relay=1), look(3.5, 4.0, relay=1), look(3.2, 4.0, relay=1)]
    outside = [look(0.1, 6.5), look(0.1, 1.9)]
    twin = look(alone[0].error, alone[0].spent)
    found = finalists([*outside, *relay, *alone, twin], HULL, limit, relay_of)
    wanted = [alone[0], alone[1], relay[0], relay[2]]
    assert NUM_FINALISTS == 2
    assert found == [look.method for look in wanted]


def test_where_all_are_outside_the_nearest_alone_goes_on(limit):
    near, far = look(1.0, 7.0), look(3.0, 1.0, relay=1)
    assert finalists([far, near], HULL, limit, relay_of) == [near.method]


def test_what_is_saved_is_by_error_and_by_distance_alike():
    distances = lower_hull([2.0, 4.0, 8.0], [8.0, 4.0, 2.0])
    one = Judged(error=2.0, distance=2.0, spent=2.0)  # the full model takes 4, and 8
    assert math.exp(saved_by_both(one, HULL, distances)) == pytest.approx(math.sqrt(2 * 4))
    assert saved_by_both(Judged(4.1, 2.0, 1.0), HULL, distances) == -math.inf
    assert saved_by_both(Judged(1.0, 8.1, 1.0), HULL, distances) == -math.inf


def test_the_finalist_that_saves_most_by_both_is_taken():
    near = Judged(error=1.0, distance=8.0, spent=4.0)
    both = Judged(error=2.0, distance=2.0, spent=4.0)
    assert best_finalist([near, both], FULL_MODEL) == 1
    assert best_finalist([both, both], FULL_MODEL) == 0, "the first of equals"
    worst = Judged(error=9.0, distance=9.0, spent=1.0)
    assert best_finalist([worst, near], FULL_MODEL) == 1
    assert best_finalist([worst, worst], FULL_MODEL) == 0
