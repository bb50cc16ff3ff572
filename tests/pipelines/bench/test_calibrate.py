"""Whether a threshold keeps its promise is said by the whole interval, or not at all."""

import pytest

from nitrogen.pipelines.bench.calibrate import holds


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
