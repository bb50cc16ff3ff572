"""Which of a tier's best settings goes on, and which of them is taken."""

import math

import pytest

from nitrogen.model.cost import CostModel
from nitrogen.pipelines.bench.ceilings import Ceiling
from nitrogen.pipelines.bench.finalists import (
    NUM_FINALISTS,
    best_finalist,
    finalists,
    saved_by_both,
)
from nitrogen.pipelines.bench.hull import lower_hull
from nitrogen.pipelines.bench.judging import Judged
from nitrogen.pipelines.bench.settings import budget_method
from nitrogen.pipelines.bench.tuning import Tried

HULL = lower_hull([2.0, 4.0, 8.0], [4.0, 2.0, 1.0])  # FLOPs, error
FULL_MODEL = [Judged(4.0, 8.0, 2.0), Judged(2.0, 4.0, 4.0), Judged(1.0, 2.0, 8.0)]


def look(error: float, spent: float, num_steps: int = 8, relay: int = 0) -> Tried:
    return Tried(error, spent, budget_method(num_steps, 0.9, relay=relay))


@pytest.fixture
def limit(models):
    """The tier from 2 to 6 units of 1 FLOP."""
    cost = CostModel(models.arch, 32, 32)
    return Ceiling(6.0, cost, cost, 1.0 - cost.full_flops, least=2.0)


def relay_of(method):
    return method.setting["relay"]


def test_the_best_of_every_kind_and_number_of_steps_go_on_the_best_first(limit):
    alone = [look(1.0, 4.0), look(1.1, 4.0), look(1.2, 4.0, num_steps=6), look(1.3, 4.0, 5)]
    relay = [look(3.0, 4.0, relay=1), look(3.5, 4.0, 7, relay=1), look(3.2, 4.0, 6, relay=1)]
    outside = [look(0.1, 6.5, 4), look(0.1, 1.9, 4)]
    found = finalists([*outside, *relay, *alone], HULL, limit, relay_of)
    wanted = [alone[0], alone[2], relay[0], relay[2]]
    assert NUM_FINALISTS == 2
    assert found == [look.method for look in wanted]


def test_where_all_are_outside_the_nearest_alone_goes_on(limit):
    near, far = look(1.0, 7.0), look(3.0, 1.0, relay=1)
    assert finalists([far, near], HULL, limit, relay_of) == [near.method]


def test_what_is_saved_is_by_error_and_by_distance_alike():
    distances = lower_hull([2.0, 4.0, 8.0], [8.0, 4.0, 2.0])
    one = Judged(mse=2.0, distance=2.0, spent=2.0)  # the full model takes 4, and 8
    assert math.exp(saved_by_both(one, HULL, distances)) == pytest.approx(math.sqrt(2 * 4))
    assert saved_by_both(Judged(4.1, 2.0, 1.0), HULL, distances) == -math.inf
    assert saved_by_both(Judged(1.0, 8.1, 1.0), HULL, distances) == -math.inf


def test_the_finalist_that_saves_most_by_both_is_taken():
    far = Judged(mse=1.0, distance=0.1, spent=64.0)  # a long run that nothing here comes near
    near = Judged(mse=1.0, distance=8.0, spent=4.0)
    both = Judged(mse=2.0, distance=2.0, spent=4.0)
    assert best_finalist([near, both], FULL_MODEL, far) == 1
    assert best_finalist([both, both], FULL_MODEL, far) == 0, "the first of equals"
    worst = Judged(mse=9.0, distance=9.0, spent=1.0)
    assert best_finalist([worst, near], FULL_MODEL, far) == 1
    assert best_finalist([worst, worst], FULL_MODEL, far) == 0


def test_distances_that_are_near_the_long_runs_are_alike():
    """Of two as near as it the one of less error is taken, whichever distance is lower."""
    lower = Judged(mse=2.0, distance=2.0, spent=4.0)
    nearer = Judged(mse=1.5, distance=3.9, spent=4.0)
    assert best_finalist([lower, nearer], FULL_MODEL, Judged(1.0, 1.0, 64.0)) == 0
    assert best_finalist([lower, nearer], FULL_MODEL, Judged(1.0, 4.0, 64.0)) == 1
    assert best_finalist([lower, nearer], FULL_MODEL, Judged(1.0, 3.9 / 1.054, 64.0)) == 1
