"""Promotion gates as data: one metric against a fixed bound, against the champion, or both.

Metrics are numbers or {"value", "low", "high"} with a confidence interval.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

_NOT_FINITE = ("nan", "inf", "-inf")


class Gate(BaseModel):
    """One condition, e.g. {metric: fd_lite0, op: "<=", champion_ratio: 1.0, interval: overlap}.

    bound           the metric must satisfy `op` against this number
    champion_ratio  ... against the champion's value times this number; not checked while there
                    is no champion
    interval        which ends of the confidence intervals are compared:
                    "ignore" the values; "overlap" passes unless the candidate is surely worse
                    (its better end against the champion's worse end); "separate" passes only if
                    it is surely good enough (its worse end against the champion's better end)
    missing         whether a candidate on which the metric was not measured is refused, or passes:
                    there is no Frechet distance with few pictures
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    metric: str
    op: Literal["<", "<=", ">=", ">"]
    bound: float | None = None
    champion_ratio: float | None = None
    interval: Literal["ignore", "overlap", "separate"] = "ignore"
    missing: Literal["refuse", "pass"] = "refuse"

    @model_validator(mode="after")
    def _has_a_bound(self) -> "Gate":
        if self.bound is None and self.champion_ratio is None:
            raise ValueError(
                f"gate on {self.metric} must have bound or champion_ratio, got neither. "
                "Set bound to a number, or champion_ratio to 1.0 for 'as good as the champion'."
            )
        return self


@dataclass(frozen=True)
class Measurement:
    """A value with its confidence interval; without one, low and high equal the value."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class GateResult:
    """`measured` is the number that was compared, `threshold` the strictest it was held to."""

    gate: Gate
    passed: bool
    measured: float | None
    threshold: float | None
    reason: str


def check_gates(
    candidate: Mapping[str, Any], champion: Mapping[str, Any] | None, gates: Sequence[Gate]
) -> list[GateResult]:
    """One result per gate; a metric that is missing or not finite passes only where the gate says
    so."""
    return [_check_gate(gate, candidate, champion) for gate in gates]


def gates_digest(gates: Sequence[Gate]) -> str:
    data = json.dumps([gate.model_dump() for gate in gates], sort_keys=True)
    return hashlib.sha256(data.encode()).hexdigest()


def _check_gate(
    gate: Gate, candidate: Mapping[str, Any], champion: Mapping[str, Any] | None
) -> GateResult:
    mine = measurement(candidate.get(gate.metric))
    if mine is None:
        broken = not_finite(candidate.get(gate.metric))
        reason = f"{gate.metric} was not measured on the candidate"
        reason += f" ({broken})" if broken else ""
        absent = candidate.get(gate.metric) is None  # a NaN is no absence
        return GateResult(gate, absent and gate.missing == "pass", None, None, reason)
    lower_is_better = gate.op in ("<", "<=")
    measured = _end(mine, gate.interval, better=gate.interval == "overlap", lower=lower_is_better)
    passed, threshold, reasons = True, None, []
    if gate.bound is not None:
        passed = _compare(measured, gate.op, gate.bound)
        threshold = gate.bound
        reasons.append(f"{gate.metric} {measured:.6g} {_verdict(passed, gate.op)} {gate.bound:.6g}")
    if gate.champion_ratio is not None:
        theirs = measurement(champion.get(gate.metric)) if champion is not None else None
        if champion is None:
            reasons.append(f"{gate.metric} has no champion on this data to be compared with")
        elif theirs is None:
            passed = False
            reasons.append(f"{gate.metric} was not measured on the champion")
        else:
            end = _end(theirs, gate.interval, gate.interval == "separate", lower_is_better)
            limit = end * gate.champion_ratio
            holds = _compare(measured, gate.op, limit)
            passed = passed and holds
            threshold = limit if threshold is None else _stricter(threshold, limit, lower_is_better)
            reasons.append(
                f"{gate.metric} {measured:.6g} {_verdict(holds, gate.op)} {limit:.6g} "
                f"({gate.champion_ratio:g} x champion)"
            )
    return GateResult(gate, passed, measured, threshold, " and ".join(reasons))


def measurement(value: Any) -> Measurement | None:
    """Parse a number or {"value", "low", "high"}; None if it is missing or not finite."""
    ends = (value.get("low"), value.get("high")) if isinstance(value, Mapping) else (None, None)
    centre = _finite(value.get("value") if isinstance(value, Mapping) else value)
    low, high = (centre if end is None else _finite(end) for end in ends)
    if centre is None or low is None or high is None:
        return None
    return Measurement(centre, low, high)


def not_finite(value: Any) -> str | None:
    """What a number, or an end of its interval, is that is not finite: "nan", "inf" or "-inf".

    JSON has no such numbers: a registry and a step's result hold their names.
    """
    ends = (
        [value.get(end) for end in ("value", "low", "high")] if isinstance(value, Mapping) else []
    )
    for number in ends or [value]:
        if isinstance(number, float) and not math.isfinite(number):
            return str(number)
        if number in _NOT_FINITE:
            return str(number)
    return None


def _finite(number: Any) -> float | None:
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        return None
    return float(number) if math.isfinite(number) else None


def _end(found: Measurement, interval: str, better: bool, lower: bool) -> float:
    if interval == "ignore":
        return found.value
    return found.low if better == lower else found.high


def _compare(left: float, op: str, right: float) -> bool:
    return {
        "<": left < right,
        "<=": left <= right,
        ">=": left >= right,
        ">": left > right,
    }[op]


def _verdict(passed: bool, op: str) -> str:
    return op if passed else f"is not {op}"


def _stricter(first: float, second: float, lower: bool) -> float:
    return min(first, second) if lower else max(first, second)
