"""Whether a threshold keeps its promise is said by the whole interval, or not at all."""

import numpy as np
import pytest

from nitrogen.pipelines.bench import calibrate as module
from nitrogen.pipelines.bench.calibrate import calibrate, holds, pairs, ranking
from nitrogen.pipelines.evaluation.residuals import Pairs, Uniform
from nitrogen.pipelines.sampling import Draws

CALIBRATED = Draws([0] * 64, list(range(64)))


@pytest.mark.parametrize(
    ("low", "high", "n", "expected"),
    [
        (0.01, 0.1, 40, True),
        (0.01, 0.11, 40, None),
        (0.11, 0.2, 40, False),
        (None, None, 0, None),
        (0.0, 0.0, 29, True),
        (0.0, 0.0, 28, None),  # fewer than could show it
        (0.0, 0.0, 3, None),
        (1.0, 1.0, 28, None),
    ],
)
def test_a_promise_holds_by_its_whole_interval(low, high, n, expected):
    """Of an older file, which holds no bound."""
    assert holds({"value": low, "low": low, "high": high, "n": n}, 0.1) is expected


@pytest.mark.parametrize(("bound", "expected"), [(0.09, True), (0.1, True), (0.101, None)])
def test_a_promise_holds_by_the_exact_bound_too(bound, expected):
    unseen = {"value": 0.01, "low": 0.0, "high": 0.03, "bound": bound, "n": 64}
    assert holds(unseen, 0.1) is expected
    assert holds(unseen | {"low": 0.11, "high": 0.2}, 0.1) is False
    assert holds(unseen | {"n": 40}, 0.1, alpha=0.01) is None, "44 are needed"


@pytest.mark.parametrize(("num", "expected"), [(3, None), (28, None), (29, True)])
def test_no_exceedance_in_a_few_pictures_is_no_proof(models, drawn, monkeypatch, num, expected):
    known, unseen = (
        Pairs(np.full((n, 4), 1e-5), np.full((n, 4), 1e-6)) for n in (len(CALIBRATED), num)
    )
    monkeypatch.setattr(
        module, "pairs", lambda _, __, seeds, *rest: known if seeds is CALIBRATED else unseen
    )
    found = calibrate(models, Uniform(), CALIBRATED, drawn, num_steps=2, eps=[1e-3])
    (one,) = found["thresholds"]
    assert one["value"] is not None
    assert (one["unseen"]["value"], one["unseen"]["high"], one["unseen"]["n"]) == (0, 0, num)
    assert one["holds"] is expected


def test_calibration_pairs_know_the_true_error(models, drawn):
    found = pairs(models, Uniform(), drawn, 6)
    assert found.predicted.shape == found.actual.shape == (len(drawn), 6 * 16)
    warm_up = found.actual.reshape(len(drawn), 6, 16)[:, :2]
    assert np.isnan(warm_up).all()
    assert (found.actual[:, 32:] >= 0).all()
    assert found.predicted.std() > 0


def test_ranks_are_of_regions_within_a_step_where_they_may_exit():
    predicted = np.array([[1.0, 2.0, 3.0, 30.0, 20.0, 10.0, 7.0, 7.0, 7.0]])
    actual = np.array([[np.nan] * 3 + [0.3, 0.2, 0.1] + [0.1, 0.2, 0.3]])
    assert ranking(Pairs(predicted, actual), 3) == {"value": pytest.approx(1.0), "n": 1}
    assert ranking(Pairs(predicted[:, :3], actual[:, :3]), 1) == {"value": None, "n": 0}
