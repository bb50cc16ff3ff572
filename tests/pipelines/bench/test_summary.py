"""The figures on made-up rows whose answers are known."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nitrogen.pipelines.bench.figures import (
    Field,
    Measured,
    Resamples,
    adaptivity_gain,
    conversion,
    latency_saved,
    predictor_share,
)
from nitrogen.pipelines.bench.hull import lower_hull
from nitrogen.pipelines.bench.summary import full_width, summarise

N, ROUNDS = 200, 30


def row(
    name, group, mse, ms, *, spread=0.0, kid=None, flops=1.0, seed=0, by="rows", n=N, **setting
):
    noise = np.random.default_rng(seed).normal(size=N)[:n]
    return Measured(
        name, group, mse * (1 + spread * noise), mse if kid is None else kid,
        spread * (noise - noise.mean()), None if ms is None else np.full(ROUNDS, float(ms)), flops,
        num_steps=setting.get("num_steps", 0), fd=setting.pop("fd", None), setting=setting,
        operators=by,
    )  # fmt: skip


@pytest.fixture
def resamples():
    return Resamples.draw(N, ROUNDS, 200)


# ------------------------------------------------------------------------------------- the hull


def test_the_hull_leaves_out_what_is_dominated_or_above_a_chord():
    ms = [1, 2, 4, 4, 8, 16]
    error = [8, 7.9, 2, 5, 1.9, 3]
    hull = lower_hull(ms, error)
    assert hull.rows == (0, 2, 4)
    assert hull.log_cost_at(5.0) == pytest.approx(np.log(2))  # half way in log ms and in error


def test_the_ends_of_the_hull():
    hull = lower_hull([1, 4], [8, 2])
    assert hull.log_cost_at(1.0) == pytest.approx(np.log(4))  # better than all: the best row
    assert hull.log_cost_at(9.0) == pytest.approx(np.log(1))  # worse than all: the fastest


# As errors are: none of 1e-310, whose slopes overflow.
ERRORS = st.floats(-1, 1).map(lambda error: round(error, 9))


@given(
    st.lists(st.tuples(st.floats(0.1, 100), ERRORS), min_size=1, max_size=12),
    ERRORS,
)
def test_no_point_lies_below_the_hull(points, error):
    ms, errors = zip(*points, strict=True)
    hull = lower_hull(ms, errors)
    assert (np.diff(hull.log_cost) > 0).all() or len(hull.rows) == 1
    assert (np.diff(hull.error) < 0).all()
    for x, y in points:
        below = hull.error[0] if np.log(x) < hull.log_cost[0] else None
        line = np.interp(np.log(x), hull.log_cost, hull.error)
        assert below is not None or y >= line - 1e-9
    assert np.log(min(ms)) - 1e-9 <= hull.log_cost_at(error) <= np.log(max(ms)) + 1e-9


# ---------------------------------------------------------------------------------- the speedups


def test_speedup_is_the_hulls_ms_at_our_error_over_ours(resamples):
    field = Field([row("a", "teacher", 8, 1), row("b", "teacher", 2, 16)], resamples)
    found = field.speedup(row("ours", "ours", 5, 2), "mse")
    assert found["value"] == pytest.approx(4 / 2)  # half way in log ms between 1 and 16 is 4
    assert (found["low"], found["high"]) == (pytest.approx(2), pytest.approx(2))
    assert not found["beats_all"]
    assert (found["n"], found["rounds"]) == (N, ROUNDS)


def test_better_than_all_is_compared_with_the_best_row(resamples):
    field = Field([row("a", "teacher", 8, 1), row("b", "teacher", 2, 16)], resamples)
    found = field.speedup(row("ours", "ours", 1, 8), "kid")
    assert found["value"] == pytest.approx(2)
    assert found["beats_all"]


def test_worse_than_all_rows_is_no_times_as_fast():
    """Where the fastest row is better too, no quality is equal."""
    rows = [row("a", "teacher", 8, 2), row("b", "teacher", 2, 16)]
    field = Field(rows, Resamples.draw(N, ROUNDS, 1000))
    noise = np.random.default_rng(7).normal(size=N)
    noise = (noise - noise.mean()) / noise.std()
    # 0.43 standard errors below the fastest row: above it in a third of the resamples.
    ours = replace(row("o", "ours", 8, 1), mse=8 + noise - 0.43 / np.sqrt(N))
    found = field.speedup(ours, "mse")
    assert found["missed"] == pytest.approx(1 / 3, abs=0.06)
    assert found["value"] > 1
    assert found["median"] > 1
    assert found["low"] == 0, "not shown to be faster"
    assert not found["slower_than_all"]
    worse = field.speedup(replace(ours, mse=ours.mse + 9), "mse")
    assert (worse["value"], worse["high"], worse["missed"]) == (0, 0, 1)
    assert worse["slower_than_all"]
    better = field.speedup(replace(ours, mse=ours.mse - 3), "mse")
    assert better["missed"] == 0
    assert better["low"] > 1
    assert not better["slower_than_all"]


def test_seeds_are_the_same_for_every_row(resamples):
    # Ours is the teacher seed by seed, only faster: paired, the error cancels to the last digit.
    rows = [row("a", "teacher", 8, 1, spread=0.5), row("b", "teacher", 2, 16, spread=0.5)]
    found = Field(rows, resamples).speedup(row("ours", "ours", 2, 4, spread=0.5), "mse")
    assert (found["low"], found["high"]) == (pytest.approx(4), pytest.approx(4))
    other = Field(rows, resamples).speedup(row("o", "ours", 2, 4, spread=0.5, seed=1), "mse")
    assert other["high"] - other["low"] > 0.1


def test_rounds_are_the_same_for_every_row(resamples):
    mood = np.random.default_rng(3).uniform(1, 5, ROUNDS)
    ours, teacher = row("o", "ours", 1, 1), row("t", "teacher", 1, 1, flops=2.0)
    moody = [Measured(**{**vars(r), "ms": mood * f}) for r, f in ((ours, 1.0), (teacher, 4.0))]
    saved = latency_saved(*moody, resamples)
    assert (saved["low"], saved["high"]) == (pytest.approx(0.75), pytest.approx(0.75))
    assert conversion(*moody, resamples)["value"] == pytest.approx(0.75 / 0.5)


def test_shares_are_medians_of_what_a_round_says(resamples):
    # Medians of either alone are equal: 4 and 4.
    timed = {"i": [11.0, 1.1, 4.0], "f": [10.0, 1.0, 4.0], "h": [5.0, 0.5, 2.0]}
    three = Resamples.draw(N, 3, 200)
    ignored, full, half = (
        Measured(**{**vars(row(name, "x", 1, 1)), "ms": np.array(ms), "flops": flops})
        for (name, ms), flops in zip(timed.items(), (1.0, 1.0, 0.5), strict=True)
    )
    found = predictor_share(ignored, full, three)
    assert found["value"] == pytest.approx(0.1)
    assert found["low"] == pytest.approx(0.0)
    assert conversion(half, ignored, three)["value"] == pytest.approx((1 - 5 / 11) / 0.5)


def test_ratios_are_of_the_rounds_of_pairs_where_both_rows_have_them():
    drawn = Resamples.draw(N, ROUNDS, 200, num_pairs=50)
    noise = np.random.default_rng(4).uniform(0.8, 1.2, ROUNDS)
    ignored, full = row("i", "ignored", 1, 1), row("f", "ignored", 1, 1)
    ignored, full = replace(ignored, ms=noise), replace(full, ms=np.ones(ROUNDS))
    assert predictor_share(ignored, full, drawn)["n"] == ROUNDS
    both = replace(ignored, pair_ms=np.full(50, 1.02)), replace(full, pair_ms=np.ones(50))
    found = predictor_share(*both, drawn)
    assert (found["low"], found["high"], found["n"]) == (
        pytest.approx(0.02),
        pytest.approx(0.02),
        50,
    )
    assert latency_saved(both[0], full, drawn)["n"] == ROUNDS


def test_conversion_needs_flops_to_be_saved(resamples):
    found = conversion(row("o", "ours", 1, 1), row("t", "teacher", 1, 2), resamples)
    assert found["value"] is None
    assert "no FLOPs" in found["reason"]


def test_predictor_share(resamples):
    found = predictor_share(row("i", "ignored", 1, 1.03), row("f", "ignored", 1, 1.0), resamples)
    assert found["value"] == pytest.approx(0.03)


# ---------------------------------------------------------------------------------- adaptivity


def test_adaptivity_gain_is_the_part_of_the_way_to_the_oracle(resamples):
    ours, oracle = row("o", "ours", 4, 1, spread=0.2), row("x", "control", 2, 1, spread=0.2)
    found = adaptivity_gain(ours, row("r", "control", 6, 1, spread=0.2), oracle, resamples)
    assert found["value"] == pytest.approx(0.5, abs=0.02)
    assert found["low"] == pytest.approx(0.5, abs=0.02)
    worse = adaptivity_gain(row("o", "ours", 7, 1), row("r", "control", 6, 1), oracle, resamples)
    assert worse["high"] < 0


def test_adaptivity_gain_is_undefined_without_room(resamples):
    control = row("r", "control", 2.0, 1, spread=0.5, seed=1)
    oracle = row("x", "control", 2.0, 1, spread=0.5, seed=2)
    found = adaptivity_gain(row("o", "ours", 1.9, 1), control, oracle, resamples)
    assert found["value"] is None
    assert found["room"]["low"] <= 0


# ------------------------------------------------------------------------------------ all of it


def test_summary_of_a_small_benchmark(resamples):
    dial = {"num_steps": 8, "solver": "dpmpp_2m"}
    rows = [
        row("teacher 4", "teacher", 8, 1, num_steps=4, solver="dpmpp_2m"),
        row("teacher 8", "teacher", 2, 16, flops=4.0, fd=10.0, **dial),
        row("teacher 4, torch", "teacher", 8, 3, num_steps=4, solver="dpmpp_2m", by="torch"),
        row("teacher 8, torch", "teacher", 2, 48, flops=4.0, fd=10.0, by="torch", **dial),
        row("static", "static", 5, 3, widths=[2] * 8, **dial),
        row("static, torch", "static", 5, 6, widths=[2] * 8, by="torch", **dial),
        row("full", "static", 2, 16, widths=[4] * 8, **dial),
        row("full, torch", "static", 2, 32, widths=[4] * 8, by="torch", **dial),
        row("cache", "cache", 9, 15, **dial),
        row("ours low", "ours", 5, 2, tier="low", flops=1.0, fd=10.5, **dial),
        row("ours", "ours", 5, 1, flops=1.0, fd=11.0, **dial),
        row("r", "control", 6, 2, of="ours low", how="random", n=N // 4),
        row("s", "control", 5, 2, of="ours low", how="shuffled", n=N // 4),
        row("x", "control", 4, None, of="ours low", how="oracle", n=N // 4),
        row("ignored", "ignored", 2, 16.32, **dial),
    ]
    found = summarise(rows, resamples)
    assert found["tiers"] == {"low": "ours low"}
    assert found["speedup_at_equal_quality"]["low"]["mse"]["value"] == pytest.approx(2.0)
    assert found["speedup_over_static"]["low"]["mse"]["value"] == pytest.approx(1.5)
    assert found["speedup_at_equal_quality_over_torch"]["low"]["mse"]["value"] == pytest.approx(6.0)
    assert found["speedup_over_static_over_torch"]["low"]["mse"]["value"] == pytest.approx(3.0)
    everything = found["speedup_at_equal_quality"]["low"]["mse"]["hull"]
    assert everything == ["teacher 4", "teacher 8"]
    plain = found["speedup_at_equal_quality_over_torch"]["low"]["mse"]["hull"]
    assert plain == ["teacher 4, torch", "teacher 8, torch"]
    assert found["all"]["ours"]["speedup_at_equal_quality"]["kid"]["value"] == pytest.approx(4.0)
    gain = found["adaptivity_gain"]["ours low"]
    assert gain["random"]["value"] == pytest.approx(0.5)
    assert gain["shuffled"]["value"] == pytest.approx(0.0)
    assert gain["random"]["n"] == N // 4
    assert set(found["latency"]) == {"rows"}, "nothing is chosen on the report split"
    assert set(found["latency"]["rows"]) == {"ours low", "ours"}
    latency = found["latency"]["rows"]["ours low"]
    assert latency["saved"]["value"] == pytest.approx(1 - 2 / 16)  # of the faster teacher
    assert latency["saved_over_torch"]["value"] == pytest.approx(1 - 2 / 48)
    assert latency["conversion"]["value"] == pytest.approx((1 - 2 / 16) / (1 - 1 / 4))
    assert found["predictor_share"]["8"]["value"] == pytest.approx(0.02)
    assert found["student_full"]["full"]["mse"]["value"] == pytest.approx(1.0)
    assert found["full_width"]["8"]["mse"]["value"] == pytest.approx(1.0)
    assert set(found["full_width"]) == {"8"}


def test_full_width_is_compared_with_the_teacher_on_the_same_seeds(resamples):
    dial = {"num_steps": 8, "solver": "dpmpp_2m"}
    teacher = row("teacher", "teacher", 2, 1, spread=0.3, **dial)
    student = row("full", "static", 2.2, 1, spread=0.3, widths=[4] * 8, **dial)
    ratio = full_width([teacher, student], resamples)["8"]["mse"]
    assert ratio["low"] == pytest.approx(1.1) == ratio["high"]
    broken = row("teacher", "teacher", 0.01, 1, spread=300, **dial)
    assert full_width([broken, student], resamples)["8"]["kid"]["value"] is None


def test_full_width_is_that_of_the_dearest_relay_that_there_is(resamples):
    dial = {"num_steps": 8, "solver": "dpmpp_2m"}
    widths = {"widths": [4] * 8, **dial}
    alone = row("full", "static", 4, 1, **widths)
    relays = [
        row(f"r{i}", "static", 1 + i, 1, relay=i if i > 1 else True, **widths) for i in (1, 2, 3)
    ]
    for rows, expected in ((relays, 2), (relays[1:], 3), ([], 4)):
        for order in (rows, rows[::-1]):
            found = full_width([row("teacher", "teacher", 1, 1, **dial), *order, alone], resamples)
            assert found["8"]["mse"]["value"] == pytest.approx(expected)


def test_controls_of_fewer_seeds_are_paired_with_our_first_ones(resamples):
    ours = row("o", "ours", 4, 1, spread=0.5)
    same = row("r", "control", 6, 1, spread=0.5, n=50)
    oracle = row("x", "control", 2, 1, spread=0.5, n=50)
    found = adaptivity_gain(ours, same, oracle, resamples)
    # Seed by seed all are the same but for a factor: paired, only the factor is left.
    assert [found[name] for name in ("value", "low", "high")] == pytest.approx([0.5] * 3)
    assert found["n"] == 50
