"""Seeds and labels of sweep and evaluation never meet."""

import numpy as np
import pytest

from nitrogen.model.solvers import SOLVERS
from nitrogen.pipelines.sampling import SEED_SPACES, OperatingPoint, draws, forwards
from nitrogen.pipelines.steps.evaluate import EvaluateConfig


@pytest.mark.parametrize("name", SOLVERS)
def test_a_recipe_may_name_every_solver(name):
    assert EvaluateConfig(solver=name).solver == name


def test_seed_spaces_are_disjoint():
    labels = np.array([0, 1, 1, 1])
    found = [set(draws(space, 5000, labels, seed=9).seeds) for space in SEED_SPACES]
    for index, seeds in enumerate(found):
        assert len(seeds) == 5000
        assert all(not seeds & other for other in found[index + 1 :])


def test_labels_follow_the_split():
    drawn = draws("evaluate", 4000, np.array([0, 1, 1, 1]), seed=0)
    assert 0.7 < np.mean(drawn.labels) < 0.8
    assert drawn == draws("evaluate", 4000, np.array([0, 1, 1, 1]), seed=0)


def test_parts_in_order_are_the_whole_and_requests_are_theirs():
    drawn = draws("show", 7, np.arange(3), seed=1)
    parts = list(drawn.parts(3))
    assert [len(part) for part in parts] == [3, 3, 1]
    requests = [one for part in parts for one in part.requests(4, budget=0.5)]
    assert [one.seed for one in requests] == drawn.seeds
    assert [one.label for one in requests] == drawn.labels
    assert {(one.num_inference_steps, one.budget) for one in requests} == {(4, 0.5)}


def test_heun_counts_both_evaluations():
    assert forwards(10, "heun") == 19
    assert forwards(10, "dpmpp_2m") == 10


def test_labels_of_operating_points():
    assert OperatingPoint(policy="threshold", threshold=0.01).label == "threshold 0.01"
    assert OperatingPoint(policy="full").label == "full"
