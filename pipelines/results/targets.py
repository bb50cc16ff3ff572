"""What the benchmark is to reach, as data, and what a measured figure says of it, in words.

A figure reaches its bound with the whole of its 95 % interval or not at all. One that was measured
on too little, or with --quick, is neither reached nor missed: it decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nitrogen.pipelines.bench.figures import MAX_FD_RATIO
from nitrogen.pipelines.bench.scaling import MAX_GROWTH
from nitrogen.pipelines.results.markdown import interval, percent

MIN_SEEDS, MIN_ROUNDS = 256, 20  # of a figure that decides something
MIN_FRECHET = 5000  # pictures behind a Frechet distance that is a headline
QUICK = "decides nothing: a quick run"
AT_HAND = "decides nothing: only rows that were at hand"
FULL_WIDTH = "decides nothing: a budget of nearly everything, so nothing is chosen"

Figure = Mapping[str, Any]


@dataclass(frozen=True)
class Target:
    """least: the interval's lower end must reach it, most: its upper end must not exceed it;
    aim: hoped for; above: the lower end must be above `least`, not only reach it."""

    least: float | None = None
    most: float | None = None
    aim: float | None = None
    above: bool = False
    percent: bool = False
    min_n: int = MIN_SEEDS

    def __str__(self) -> str:
        bound = self.least if self.least is not None else self.most
        assert bound is not None
        word = "at most" if self.least is None else "above" if self.above else "at least"
        aim = "" if self.aim is None else f" (aim {self._text(self.aim)})"
        return f"{word} {self._text(bound)}{aim}"

    def _text(self, value: float) -> str:
        return f"{100 * value:g} %" if self.percent else f"{value:g}"

    def shown(self, figure: Figure | None) -> str:
        return percent(figure) if self.percent else interval(figure)


SPEEDUPS = {
    "low": Target(1.8, aim=3.0), "middle": Target(1.5, aim=2.5), "high": Target(1.4, aim=2.0),
}  # fmt: skip
OVER_STATIC = Target(1.0, aim=1.25, above=True)
LATENCY_SAVED = Target(0.35, aim=0.6, percent=True, min_n=MIN_ROUNDS)
PASSES_SAVED = Target(0.25, aim=0.4, percent=True)
GAINS = {"random": Target(0.3, aim=0.6), "shuffled": Target(0.0, aim=0.3, above=True)}
CONVERSION, CONVERSION_BATCH = Target(0.85, aim=0.95, min_n=MIN_ROUNDS), "8"
PREDICTOR = Target(most=0.03, aim=0.015, percent=True, min_n=MIN_ROUNDS)
NOT_INFERIOR = Target(most=MAX_FD_RATIO)  # of errors over the teacher's, as of distances
PER_PIXEL = Target(most=MAX_GROWTH, min_n=MIN_ROUNDS)
ATTACK_SEEDS = 10_000


@dataclass(frozen=True)
class Verdict:
    """One row of the table: what was to be reached, what was, and what that means."""

    figure: str
    target: str
    measured: str
    n: int | None
    outcome: str

    @property
    def reached(self) -> bool | None:
        """None where nothing is decided."""
        return {"rea": True, "aim": True, "mis": False}.get(self.outcome[:3])


def timed(figure: Figure | None, content: Mapping[str, Any]) -> Figure | None:
    """The figure with the rounds behind its times, which older files tell for all of them."""
    rounds = (content.get("config") or {}).get("rounds")
    return figure if not figure or rounds is None else {"rounds": rounds, **figure}


def judge(name: str, target: Target, figure: Figure | None, *, quick: bool) -> Verdict:
    """figure: {value, low, high, n}, or {value: None, reason}; rounds: behind its times."""
    n = figure.get("n") if figure else None
    return Verdict(name, str(target), target.shown(figure), n, outcome(target, figure, quick))


def outcome(target: Target, figure: Figure | None, quick: bool) -> str:
    """ "reached", "aim reached", "missed ...", "not defined: ..." or "decides nothing: ..."."""
    if figure is None:
        return "not measured"
    if figure.get("value") is None:
        return f"not defined: {figure.get('reason', 'no value')}"
    if quick:
        return QUICK
    n = figure.get("n")
    if n is not None and n < target.min_n:
        return f"decides nothing: n = {n} is too small"
    rounds = figure.get("rounds")
    if rounds is not None and rounds < MIN_ROUNDS:
        return f"decides nothing: {rounds} rounds of timing are too few"
    if figure.get("slower_than_all"):  # off the hull's fast end no quality is equal
        return "missed: worse than even the fastest row"
    value, low, high = (float(figure.get(k, figure["value"])) for k in ("value", "low", "high"))
    if target.least is not None:
        return _at_least(target, value, low)
    return _at_most(target, value, high)


def _at_least(target: Target, value: float, low: float) -> str:
    assert target.least is not None
    good = (lambda v: v > target.least) if target.above else (lambda v: v >= target.least)
    if target.aim is not None and low >= target.aim:
        return "aim reached"
    if good(low):
        return "reached"
    return "missed: the interval reaches below" if good(value) else "missed"


def _at_most(target: Target, value: float, high: float) -> str:
    assert target.most is not None
    if target.aim is not None and high <= target.aim:
        return "aim reached"
    if high <= target.most:
        return "reached"
    return "missed: the interval reaches above" if value <= target.most else "missed"
