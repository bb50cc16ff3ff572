"""What a run shows in one sentence: the student against the teacher with fewer steps, win or lose.

The fair rival of compute that adapts is the full model that takes fewer steps: where both are as
near to the truth, which of them is faster? Savings below zero are said in words, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from nitrogen.pipelines.report.data import Claim, Verdict
from nitrogen.pipelines.report.formatting import number
from nitrogen.pipelines.report.measured import Measured
from nitrogen.pipelines.report.operating_points import distance_of

Result = Mapping[str, Any]
RIVAL = "the teacher with fewer steps"
# Claims of savings, and what a negative one is.
_WORSE = {"Latency saved ": "slower", "Compute saved ": "more"}


@dataclass(frozen=True)
class Rival:
    """The teacher where its error is the student's: steps (not whole ones, where it lies between
    two that were measured) and GFLOPs; place: "between", or "fewest" and "most" of those that were
    measured, where its error is lower, or higher, than the student's."""

    steps: float
    gflops: float
    place: str


@dataclass(frozen=True)
class Times:
    """Milliseconds a picture at batch 1; speedup: how many times as fast as the rival."""

    student_ms: float
    rival_ms: float
    speedup: Measured


def verdict(sweep: Result, evaluate: Result) -> Verdict | None:
    """The sentence, its basis and its claim; None where the sweep compared with no fewer steps."""
    chosen, curve = sweep.get("chosen"), _curve(sweep)
    if not chosen or not curve:
        return None
    error = distance_of(chosen)
    rival = equal_error(curve, error)
    times = _times(evaluate, rival)
    compute = float(chosen["gflops"]) / rival.gflops
    return Verdict(
        sentence=_sentence(rival, times, compute),
        basis=_basis(sweep, rival, error, times),
        claim=_claim(sweep, evaluate, rival, times),
    )


def equal_error(curve: Sequence[tuple[float, float, float]], error: float) -> Rival:
    """Where the teacher's error falls to `error`; curve: (steps, gflops, error), fewest first.

    Between two numbers of steps the logarithm of the error is taken as a straight line.
    """
    if curve[0][2] <= error:
        return Rival(curve[0][0], curve[0][1], "fewest")
    for (steps, gflops, above), (more, more_gflops, below) in pairwise(curve):
        if above > error >= below:
            share = math.log(above / error) / math.log(above / below) if below > 0 else 1.0
            between = (steps + share * (more - steps), gflops + share * (more_gflops - gflops))
            return Rival(*between, "between")
    return Rival(curve[-1][0], curve[-1][1], "most")


def in_words(row: Result) -> dict[str, str]:
    """text, words and interval_words of a claim of savings; nothing for other claims."""
    text, value = str(row["text"]), row.get("value")
    kind = next((kind for kind in _WORSE if text.startswith(kind)), None)
    if kind is None or value is None:
        return {}
    worse = _WORSE[kind]
    found = {
        "text": text.replace(" saved", "", 1),
        "words": _change(value, worse),
    }
    low, high = row.get("low"), row.get("high")
    if low is not None and high is not None:
        if low < 0 <= high:
            found["interval_words"] = f"{_change(low, worse)} to {_change(high, worse)}"
        else:
            ends = sorted((abs(low), abs(high)))
            word = worse if high < 0 else "saved"
            found["interval_words"] = f"{number(ends[0])} to {number(ends[1])} % {word}"
    return found


def _change(saved: float, worse: str) -> str:
    """37.2 -> "37.2 % saved", -34 -> "34.0 % slower"."""
    return f"{number(abs(float(saved)))} % {worse if saved < 0 else 'saved'}"


def _curve(sweep: Result) -> list[tuple[float, float, float]]:
    rows = [
        (float(row["num_inference_steps"]), float(row["gflops"]), distance_of(row))
        for row in sweep.get("full_curve") or ()
        if None not in (row.get("num_inference_steps"), row.get("gflops"), row.get("distance"))
    ]
    return sorted(rows)


def _times(evaluate: Result, rival: Rival) -> Times | None:
    """Every forward of the teacher is the same work, so its time is in proportion to its FLOPs."""
    teacher, student = evaluate.get("teacher") or {}, evaluate.get("student") or {}
    ours, theirs = student.get("ms_p50"), teacher.get("ms_p50")
    if not ours or not theirs or not teacher.get("gflops"):
        return None
    share = rival.gflops / teacher["gflops"]
    paired = Measured.read(evaluate.get("speedup")) or Measured(
        theirs / ours, n=teacher.get("num_timings")
    )
    low, high = (end and end * share for end in (paired.low, paired.high))
    return Times(ours, theirs * share, Measured(paired.value * share, low, high, paired.n))


def _sentence(rival: Rival, times: Times | None, compute: float) -> str:
    spends = f"{number(compute)} times the compute"
    if rival.place == "most":
        against = f"the teacher with {rival.steps:g}, the most"
        start = "No number of the teacher's steps that was measured comes as near as the student"
        if times is None:
            return f"{start}, which takes {spends} of {against}."
        return f"{start}, which {_pace(times.speedup, against)} and takes {spends}."
    if rival.place == "fewest" and (times is None or times.speedup.value >= 1):
        return (
            f"At equal error student and teacher were not compared: with {rival.steps:g} steps, "
            "the fewest that were measured, the teacher is nearer than the student already."
        )
    least = "at least " if rival.place == "fewest" else ""
    if times is None:
        return f"At equal error the student takes {least}{spends} of {RIVAL}."
    return f"At equal error the student {_pace(times.speedup, RIVAL, least)}, for {least}{spends}."


def _pace(speedup: Measured, against: str, least: str = "") -> str:
    """The student "is 1.4 times as fast as ..." or "is slower than ...: it takes ..."."""
    value, low, high = speedup.value, speedup.low, speedup.high
    known = low is not None and high is not None
    if low is not None and high is not None and low <= 1 <= high:
        return (
            f"is not shown to be faster or slower than {against}: it is {number(value)} times as "
            f"fast ({number(low)} to {number(high)})"
        )
    if value >= 1:
        interval = f" ({number(low)} to {number(high)})" if known else ""
        return f"is {number(value)} times as fast as {against}{interval}"
    interval = f" ({number(1 / high)} to {number(1 / low)})" if low and high else ""
    return f"is slower than {against}: it takes {least}{number(1 / value)} times as long{interval}"


def _basis(sweep: Result, rival: Rival, error: float, times: Times | None) -> str:
    metric = str(sweep.get("metric") or "the sweep's distance")
    split = f", {sweep['split']}" if sweep.get("split") else ""
    reaches = {
        "between": f"which the teacher reaches with {number(rival.steps)} steps, read between "
        "those that were measured",
        "fewest": f"more than the teacher's with {rival.steps:g} steps",
        "most": f"less than the teacher's with {rival.steps:g} steps",
    }[rival.place]
    text = f"Error is {metric}{split}: the student's is {number(error)}, {reaches}."
    if times is None:
        return f"{text} Times were not measured."
    return (
        f"{text} Times are of one picture at a time: {number(times.student_ms)} ms, against "
        f"{number(times.rival_ms)} ms of the teacher, in proportion to its compute."
    )


def _claim(sweep: Result, evaluate: Result, rival: Rival, times: Times | None) -> Claim | None:
    if times is None or rival.place != "between":
        return None
    found = times.speedup
    return Claim(
        text=f"Speed against {RIVAL}, at equal error, batch 1",
        value=found.value,
        unit="x",
        low=found.low,
        high=found.high,
        n=found.n,
        split=f"error: {sweep.get('split') or 'not named'}; time: one picture again and again",
        command=str(evaluate.get("command") or ""),
        commit=str(evaluate.get("commit") or ""),
        no_interval="" if found.low is not None else "none: medians of this run alone",
    )
