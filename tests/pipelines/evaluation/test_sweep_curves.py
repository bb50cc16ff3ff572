"""Pareto fronts and the choice of a point."""

from nitrogen.pipelines.evaluation.sweep_curves import choose, pareto_front


def points(*pairs):
    return [{"gflops": gflops, "distance": distance} for gflops, distance in pairs]


def test_front_holds_what_nobody_beats():
    found = pareto_front(points((3, 1.0), (1, 3.0), (2, 2.0), (2, 2.5), (4, 1.0)))
    assert found == [1, 2, 0]


def test_a_single_point_is_the_front():
    assert pareto_front(points((1, 1))) == [0]


def test_the_cheapest_point_within_reach_is_chosen():
    assert choose(points((3, 1.0), (1, 3.0), (2, 2.0)), 2.0)["gflops"] == 2


def test_without_one_in_reach_the_nearest_is_chosen():
    assert choose(points((3, 1.0), (1, 3.0)), 0.5)["distance"] == 1.0
