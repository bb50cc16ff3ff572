"""Calibration: the guarantee holds on unseen pictures as often as it says."""

import numpy as np
import pytest

from nitrogen.pipelines.metrics.calibration import (
    binomial_upper,
    exceedances,
    exit_threshold,
    realised,
    reliability,
    votes_needed,
)

EPS, DELTA, ALPHA = 1e-3, 0.1, 0.05
CANDIDATES = np.geomspace(1e-5, 1e-1, 30)


def pictures(num: int, seed: int, bias: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and actual errors [num, 32]; regions of a picture share their luck."""
    generator = np.random.default_rng(seed)
    predicted = np.exp(generator.uniform(-11, -3, (num, 32)))
    luck = np.exp(generator.normal(0, 0.7, (num, 1)))
    return predicted, bias * predicted * luck * generator.exponential(1.0, (num, 32))


def test_the_promise_holds_on_unseen_pictures():
    unseen = pictures(4000, 999)
    broken = 0
    for seed in range(40):
        found = exit_threshold(
            *pictures(150, seed), eps=EPS, delta=DELTA, candidates=CANDIDATES, alpha=ALPHA
        )
        assert found.value is not None
        assert found.bound <= DELTA
        broken += realised(*unseen, found.value, EPS)["value"] > DELTA
    # 5 % of 40 are 2; more than 6 has a probability below 0.3 %.
    assert broken <= 6


def test_it_is_not_timid():
    found = exit_threshold(*pictures(2000, 0), eps=EPS, delta=DELTA, candidates=CANDIDATES)
    assert realised(*pictures(4000, 1), found.value, EPS)["value"] > DELTA / 4


def test_an_overconfident_predictor_gets_a_lower_threshold():
    honest, proud = (
        exit_threshold(*pictures(400, 0, bias), eps=EPS, delta=DELTA, candidates=CANDIDATES)
        for bias in (1.0, 8.0)
    )
    assert proud.value < honest.value / 4


def test_nothing_is_promised_when_nothing_holds():
    predicted, actual = pictures(100, 0)
    found = exit_threshold(
        predicted, np.ones_like(actual), eps=EPS, delta=DELTA, candidates=CANDIDATES
    )
    assert (found.value, found.bound) == (None, None)


def test_a_few_early_exits_do_not_end_the_walk():
    """The smallest candidates let two pictures exit: too few for any verdict."""
    predicted, actual = np.full((200, 4), 1e-3), np.full((200, 4), 1e-4)
    predicted[:2] = 1e-6
    found = exit_threshold(
        predicted, actual, eps=EPS, delta=DELTA, candidates=[1e-5, 1e-4, 1e-2], alpha=ALPHA
    )
    assert (found.value, found.votes) == (1e-2, 200)
    assert votes_needed(DELTA, ALPHA) == 29
    assert binomial_upper(0, 29, ALPHA) <= DELTA < binomial_upper(0, 28, ALPHA)


@pytest.mark.parametrize("num", [3, 28, 29, 100])
def test_no_exceedance_has_an_exact_bound(num):
    predicted, actual = np.full((num, 4), 1e-5), np.full((num, 4), 1e-6)
    found = realised(predicted, actual, 1e-4, EPS)
    assert (found["value"], found["high"], found["n"]) == (0, 0, num)
    assert found["bound"] == binomial_upper(0, num, ALPHA)
    assert (found["bound"] <= DELTA) == (num >= votes_needed(DELTA, ALPHA))
    assert realised(predicted, actual, 1e-6, EPS)["bound"] is None, "nothing exits"


def test_the_bound_on_unseen_pictures_is_seldom_too_low():
    threshold = 1e-3
    truth = realised(*pictures(4000, 999), threshold, EPS)["value"]
    found = [realised(*pictures(40, seed), threshold, EPS) for seed in range(100)]
    # 5 of 100 may be; more than 11 has a probability below 0.5 %.
    assert sum(one["bound"] < truth for one in found) <= 11
    assert all(one["bound"] > one["low"] for one in found)


def test_one_vote_a_picture_and_none_where_nothing_exits():
    predicted = np.array([[1e-4, 1e-4], [1e-1, 1e-1], [1e-4, 1e-1]])
    actual = np.array([[1.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    assert exceedances(predicted, actual, 1e-3, EPS, 0) == (1, 2)
    actual[0] = np.nan
    assert exceedances(predicted, actual, 1e-3, EPS, 0) == (0, 1)


def test_reliability_of_a_calibrated_and_of_a_proud_predictor():
    predicted, actual = pictures(3000, 3)
    actual /= np.exp(0.7**2 / 2)  # the mean of the luck
    assert reliability(predicted, actual)["log_gap"] < 0.1
    assert reliability(predicted, 3 * actual)["log_gap"] == pytest.approx(np.log(3), abs=0.1)
    rows = reliability(predicted, actual)["rows"]
    assert sum(row["n"] for row in rows) == predicted.size
    assert all(row["low"] <= row["actual"] <= row["high"] for row in rows)


@pytest.mark.parametrize(("bad", "num", "upper"), [(0, 59, 0.0495), (5, 100, 0.1023), (3, 3, 1.0)])
def test_clopper_pearson(bad, num, upper):
    # The one-sided 95 % bounds of the tables; 0 of 59 is the well-known rule of three.
    assert binomial_upper(bad, num, 0.05) == pytest.approx(upper, abs=2e-3)
