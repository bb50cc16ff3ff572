"""Bootstrap, same-seed differences and timings."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from nitrogen.pipelines.metrics.bootstrap import bootstrap, paired_bootstrap
from nitrogen.pipelines.metrics.psnr import PSNR_CAP_DB, same_seed
from nitrogen.pipelines.metrics.timing import paired_speedup, time_callables
from nitrogen.platform.errors import DataError


def test_bootstrap_interval_is_the_normal_one_for_a_mean():
    values = np.random.default_rng(0).normal(3.0, 2.0, size=400)
    interval = bootstrap(values)
    assert interval.value == pytest.approx(values.mean())
    expected = 1.96 * values.std() / np.sqrt(400)
    assert interval.high - interval.value == pytest.approx(expected, rel=0.1)
    assert bootstrap(values) == interval
    assert bootstrap(values, seed=1) != interval


def test_pairs_are_resampled_together():
    noise = np.random.default_rng(1).normal(0, 10, size=200)
    difference = paired_bootstrap(noise + 1.0, noise)
    assert difference.low == pytest.approx(1.0)
    assert difference.high == pytest.approx(1.0)
    ratio = paired_bootstrap(2 * (noise + 50), noise + 50, ratio=True)
    assert ratio.value == pytest.approx(2.0)
    assert ratio.high - ratio.low < 1e-9


def test_unequal_or_infinite_values_are_refused():
    with pytest.raises(ValueError, match="must be pairs, got 3 and 2"):
        paired_bootstrap(np.ones(3), np.ones(2))
    with pytest.raises(ValueError, match="finite"):
        bootstrap(np.array([1.0, np.inf]))


def test_psnr_of_a_known_difference():
    reference = np.full((3, 8, 8, 3), 100, np.uint8)
    images = reference.copy()
    images[1] += 51  # 51/255 = 0.2: PSNR = -20 log10 0.2 = 13.979 dB
    images[2, :4] -= 51
    result = same_seed(images, reference)
    assert result.rmse == pytest.approx([0.0, 0.2, 0.2 / np.sqrt(2)])
    assert result.psnr_db == pytest.approx([PSNR_CAP_DB, 13.9794, 16.9897], abs=1e-3)
    summary = json.loads(json.dumps(result.to_dict()))
    assert summary["rmse"]["n"] == 3
    assert summary["rmse"]["low"] <= summary["rmse"]["value"] <= summary["rmse"]["high"]


def test_psnr_refuses_pictures_that_are_no_pairs():
    with pytest.raises(DataError, match=r"one shape .* got \[2, 8, 8, 3\] and \[3, 8, 8, 3\]"):
        same_seed(np.zeros((2, 8, 8, 3), np.uint8), np.zeros((3, 8, 8, 3), np.uint8))
    with pytest.raises(DataError, match="uint8, got float64"):
        same_seed(np.zeros((2, 8, 8, 3)), np.zeros((2, 8, 8, 3)))


def test_timing_alternates_the_order_and_drops_the_warm_up():
    calls: list[str] = []
    timings = time_callables(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3, warmup=2
    )
    assert "".join(calls) == "ab" + "ba" + "ab" + "ba" + "ab"
    assert {name: len(t.ms) for name, t in timings.items()} == {"a": 3, "b": 3}


def test_timing_tells_slow_from_fast_and_divides_by_images():
    timings = time_callables(
        {"slow": lambda: time.sleep(0.02), "fast": lambda: time.sleep(0.004)},
        repeats=7,
        warmup=1,
        images_per_call=2,
    )
    slow, fast = timings["slow"], timings["fast"]
    assert 9.0 < slow.p50 < 40.0
    assert slow.p50 <= slow.p95
    speedup = paired_speedup(fast, slow)
    assert speedup.low > 1.5
    row = json.loads(json.dumps(slow.to_dict()))
    assert row["n"] == 7
    assert row["ms_p50_low"] <= row["ms_p50"] <= row["ms_p50_high"]


def test_timing_refuses_no_repetition():
    with pytest.raises(ValueError, match="repeats must be at least 1"):
        time_callables({"a": lambda: None}, repeats=0)
