"""Gates: bounds, the champion, confidence intervals, and everything that must not pass."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nitrogen.platform.gates import Gate, check_gates, gates_digest

NAN = float("nan")


def passes(gate: Gate, candidate, champion=None) -> bool:
    return check_gates({"m": candidate}, champion and {"m": champion}, [gate])[0].passed


@pytest.mark.parametrize(
    ("op", "value", "expected"),
    [("<=", 1.0, True), ("<", 1.0, False), (">=", 1.0, True), (">", 1.0, False), ("<", 0.5, True)],
)
def test_absolute_bound(op, value, expected):
    assert passes(Gate(metric="m", op=op, bound=1.0), value) is expected


@pytest.mark.parametrize("value", [None, NAN, float("inf"), "0.1", True, {"value": NAN}, {}])
@pytest.mark.parametrize("op", ["<=", ">="])
def test_what_was_not_measured_never_passes(value, op):
    result = check_gates({"m": value}, None, [Gate(metric="m", op=op, bound=0.0)])[0]
    assert not result.passed
    assert "was not measured" in result.reason


def test_missing_metric_passes_only_a_gate_that_says_so():
    assert not check_gates({}, None, [Gate(metric="m", op="<=", bound=1e9)])[0].passed
    lenient = Gate(metric="m", op="<=", bound=1.0, missing="pass")
    assert check_gates({}, {"m": 0.5}, [lenient])[0].passed
    for value in (2.0, NAN, float("inf"), "0.1", {"value": NAN}):
        assert not check_gates({"m": value}, None, [lenient])[0].passed


def span(value, low, high):
    return {"value": value, "low": low, "high": high}


@pytest.mark.parametrize(
    ("interval", "candidate", "expected"),
    [
        # champion 10 in [9, 11], lower is better
        ("ignore", span(10.0, 8.0, 12.0), True),
        ("ignore", span(10.1, 8.0, 12.0), False),
        ("overlap", span(12.0, 10.9, 13.0), True),  # not surely worse
        ("overlap", span(12.5, 11.1, 14.0), False),  # surely worse
        ("separate", span(8.0, 7.0, 8.9), True),  # surely better
        ("separate", span(8.0, 7.0, 9.1), False),
    ],
)
def test_intervals_against_the_champion(interval, candidate, expected):
    gate = Gate(metric="m", op="<=", champion_ratio=1.0, interval=interval)
    assert passes(gate, candidate, span(10.0, 9.0, 11.0)) is expected


def test_higher_is_better_mirrors():
    gate = Gate(metric="m", op=">=", champion_ratio=1.0, interval="overlap")
    assert passes(gate, span(28.0, 27.0, 29.5), span(30.0, 29.0, 31.0))
    assert not passes(gate, span(28.0, 27.0, 28.9), span(30.0, 29.0, 31.0))


def test_bound_can_be_held_with_the_interval():
    gate = Gate(metric="m", op="<=", bound=10.0, interval="separate")
    assert passes(gate, span(9.0, 8.0, 10.0))
    assert not passes(gate, span(9.0, 8.0, 10.1))


def test_ratio_and_bound_both_hold_and_the_stricter_is_reported():
    gate = Gate(metric="m", op="<=", bound=100.0, champion_ratio=0.9)
    (result,) = check_gates({"m": 95.0}, {"m": 100.0}, [gate])
    assert not result.passed
    assert result.threshold == pytest.approx(90.0)
    assert "95" in result.reason
    assert "90" in result.reason


def test_without_a_champion_only_the_bound_counts():
    gate = Gate(metric="m", op="<=", bound=1.0, champion_ratio=0.5)
    (result,) = check_gates({"m": 0.9}, None, [gate])
    assert result.passed
    assert "no champion" in result.reason
    assert not check_gates({"m": 1.1}, None, [gate])[0].passed


def test_champion_without_the_metric_is_not_beaten_silently():
    gate = Gate(metric="m", op="<=", champion_ratio=1.0)
    (result,) = check_gates({"m": 0.9}, {"other": 1.0}, [gate])
    assert not result.passed
    assert "champion" in result.reason


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.sampled_from(["<", "<=", ">=", ">"]))
def test_exactly_one_of_a_gate_and_its_opposite_passes(value, bound, op):
    opposite = {"<": ">=", "<=": ">", ">=": "<", ">": "<="}[op]
    first = passes(Gate(metric="m", op=op, bound=bound), value)
    assert first != passes(Gate(metric="m", op=opposite, bound=bound), value)


def test_gate_needs_something_to_compare_with():
    with pytest.raises(ValidationError, match="bound or champion_ratio"):
        Gate(metric="m", op="<=")
    with pytest.raises(ValidationError):
        Gate(metric="m", op="<=", bound=NAN)


def test_digest_names_the_gates():
    gates = [Gate(metric="m", op="<=", bound=1.0)]
    assert gates_digest(gates) == gates_digest([Gate(metric="m", op="<=", bound=1.0)])
    assert gates_digest(gates) != gates_digest([Gate(metric="m", op="<=", bound=2.0)])
