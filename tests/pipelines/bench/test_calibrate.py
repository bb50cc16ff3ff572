"""Whether a threshold keeps its promise is said by the whole interval, or not at all."""

import numpy as np
import pytest

from nitrogen.pipelines.bench.calibrate import holds, pairs, ranking
from nitrogen.pipelines.evaluation.residuals import Pairs, Uniform


@pytest.mark.parametrize(
    ("low", "high", "n", "expected"),
    [
        (0.01, 0.1, 40, True),
        (0.01, 0.11, 40, None),
        (0.11, 0.2, 40, False),
        (None, None, 0, None),
    ],
)
def test_a_promise_holds_by_its_whole_interval(low, high, n, expected):
    assert holds({"value": low, "low": low, "high": high, "n": n}, 0.1) is expected


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
