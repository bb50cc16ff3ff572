"""The autoscaling policy on numbers: bounds, both demands, no flapping, the reason."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nitrogen.platform.autoscaling import Bounds, Observation, decide, serve_policy

BOUNDS = Bounds(min_replicas=1, max_replicas=8, target_ongoing=2.0, max_wait_s=5.0)


@pytest.mark.parametrize(
    ("current", "running", "queued", "expected"),
    [
        (1, 0, 0, 1),
        (1, 2, 0, 1),
        (1, 2, 1, 2),
        (1, 2, 30, 8),
        (4, 0, 0, 1),
        (4, 6, 0, 4),  # 3 would be full: one replica of slack
        (4, 4, 0, 3),
        (4, 3, 0, 2),
    ],
)
def test_by_count(current, running, queued, expected):
    assert decide(Observation(current, running, queued), BOUNDS).num_replicas == expected


def test_few_dear_requests_need_more_than_many_cheap_ones():
    dear = Observation(1, 1, 1, pending_gflops=1000.0, gflops_per_s=50.0)
    cheap = Observation(1, 2, 2, pending_gflops=4.0, gflops_per_s=50.0)
    assert decide(dear, BOUNDS).num_replicas == 4
    assert "GFLOPs pending" in decide(dear, BOUNDS).reason
    assert decide(cheap, BOUNDS).num_replicas == 2
    assert "requests at" in decide(cheap, BOUNDS).reason


def test_reason_names_the_bound():
    assert "capped at the maximum of 8" in decide(Observation(1, 90, 0), BOUNDS).reason
    assert "minimum of 1" in decide(Observation(1, 0, 0), BOUNDS).reason


@given(
    st.integers(0, 20),
    st.floats(0, 1e4),
    st.floats(0, 1e4),
    st.none() | st.floats(0, 1e6),
    st.none() | st.floats(1e-3, 1e4),
)
def test_always_within_bounds_and_settles(current, running, queued, work, speed):
    bounds = Bounds(0, 8, 2.0, 5.0)
    first = decide(Observation(current, running, queued, work, speed), bounds).num_replicas
    assert 0 <= first <= 8
    second = decide(Observation(first, running, queued, work, speed), bounds).num_replicas
    third = decide(Observation(second, running, queued, work, speed), bounds).num_replicas
    assert second == third  # the same load never makes it swing
    if running + queued > 0:
        assert first >= 1


@pytest.mark.parametrize("bad", [{"min_replicas": 3, "max_replicas": 2}, {"target_ongoing": 0}])
def test_bad_bounds_are_a_sentence(bad):
    with pytest.raises(ValueError, match=r"must be .* got"):
        Bounds(**bad)


def test_serve_policy_reads_serves_context():
    context = SimpleNamespace(
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=3,
        config=SimpleNamespace(get_target_ongoing_requests=lambda: 2.0),
        current_num_replicas=1,
        total_running_requests=2.0,
        total_queued_requests=1.0,
    )
    replicas, state = serve_policy(context)
    assert replicas == 2
    assert state["reason"]
