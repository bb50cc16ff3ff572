"""The figures of a benchmark, resampled over seeds: speedups, adaptivity gain, conversion, shares.

Every figure is bootstrapped with the same seeds and the same timing rounds for every row, so that
what moves all rows together cancels. An interval is the 2.5 and 97.5 percentile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from nitrogen.pipelines.bench.hull import Hull, lower_hull

ERRORS = ("mse", "kid")
MAX_FD_RATIO = 1.054  # of ours over the teacher's distance: the article's 3.9 / 3.7
MIN_SAVED = 0.05  # of the FLOPs: below it conversion divides by nearly nothing


@dataclass(frozen=True)
class Measured:
    """One row as the summary sees it.

    mse: per seed [n]; kid: value, kid_influence: [n] with mean 0; ms: per round [r], of one batch
    size, None for rows that were not timed; pair_ms: [p] of more rounds of its own, for rows that a
    figure takes the ratio of; flops: mean of a picture; operators: by which it ran, `torch` or
    `rows`.
    """

    name: str
    group: str
    mse: np.ndarray
    kid: float
    kid_influence: np.ndarray
    ms: np.ndarray | None
    flops: float
    num_steps: int = 0
    fd: float | None = None
    setting: Any = None
    operators: str = "rows"
    pair_ms: np.ndarray | None = None

    def error(self, which: str, seeds: np.ndarray) -> np.ndarray:
        """[k] the error on each resample of seeds [k, n]; KID to first order."""
        if which == "mse":
            return self.mse[seeds].mean(axis=1)
        return self.kid + self.kid_influence[seeds].mean(axis=1)

    def p50(self, rounds: np.ndarray) -> np.ndarray:
        """[k] median ms on each resample of rounds [k, r]."""
        assert self.ms is not None, f"{self.name} was not timed"
        return np.median(self.ms[rounds], axis=1)


@dataclass(frozen=True)
class Resamples:
    """Which seeds [k, n], rounds [k, r] and rounds of pairs [k, p] each resample takes; the first
    row is everything."""

    seeds: np.ndarray
    rounds: np.ndarray
    pairs: np.ndarray

    @classmethod
    def draw(
        cls, num_seeds: int, num_rounds: int, resamples: int, seed: int = 0, num_pairs: int = 0
    ) -> Resamples:
        generator = np.random.default_rng(seed)
        counts = (num_seeds, num_rounds, num_pairs)
        return cls(*(_indices(generator, count, resamples) for count in counts))

    def of_first(self, num_seeds: int) -> Resamples:
        """The same for rows that have the first num_seeds only."""
        if num_seeds == self.seeds.shape[1]:
            return self
        generator = np.random.default_rng(num_seeds)
        seeds = _indices(generator, num_seeds, len(self.seeds) - 1)
        return Resamples(seeds, self.rounds, self.pairs)


def _indices(generator: np.random.Generator, num: int, resamples: int) -> np.ndarray:
    """Of none, for num 0."""
    drawn = generator.integers(0, max(1, num), (resamples, num))
    return np.concatenate([np.arange(num)[None], drawn])


def figure(draws: np.ndarray, n: int, **more: Any) -> dict[str, Any]:
    """{value, median, low, high, n}: draws[0] is the value on everything, the others resamples."""
    low, median, high = np.percentile(draws[1:], [2.5, 50, 97.5])
    return {
        "value": float(draws[0]), "median": float(median), "low": float(low), "high": float(high),
        "n": n, **more,
    }  # fmt: skip


def undefined(reason: str, n: int, **more: Any) -> dict[str, Any]:
    return {"value": None, "reason": reason, "n": n, **more}


class Field:
    """Rows that compete, resampled once: errors and times of each on every resample."""

    def __init__(self, rows: Sequence[Measured], resamples: Resamples):
        self.rows = [row for row in rows if row.ms is not None]
        self.resamples = resamples
        self._hulls: dict[str, list[Hull]] = {}

    @cached_property
    def ms(self) -> np.ndarray:
        """[rows, k]."""
        return np.stack([row.p50(self.resamples.rounds) for row in self.rows])

    def hulls(self, which: str) -> list[Hull]:
        """The rows' lower hull on each resample, the first of everything."""
        if which not in self._hulls:
            errors = np.stack([row.error(which, self.resamples.seeds) for row in self.rows])
            pairs = zip(self.ms.T, errors.T, strict=True)
            self._hulls[which] = [lower_hull(ms, error) for ms, error in pairs]
        return self._hulls[which]

    def speedup(self, ours: Measured, which: str) -> dict[str, Any]:
        """ms of the rows' lower hull at our error, over our ms.

        beats_all: whether we are better than the hull's best error, where its best row is taken.
        Worse than all of it, the fastest row too, there is no equal quality, and we are 0 times as
        fast: slower_than_all says so of everything, missed is the share of resamples.
        """
        hulls, mine = self.hulls(which), ours.error(which, self.resamples.seeds)
        my_ms = np.log(ours.p50(self.resamples.rounds))
        pairs = list(zip(hulls, mine, strict=True))
        missed = np.array([hull.misses(error) for hull, error in pairs])
        at_mine = np.array([hull.log_cost_at(error) for hull, error in pairs])
        whole = hulls[0]
        return figure(
            np.where(missed, 0.0, np.exp(at_mine - my_ms)), len(ours.mse),
            beats_all=bool(mine[0] < whole.error[-1]),
            slower_than_all=bool(missed[0]),
            missed=float(missed[1:].mean()),
            hull=[self.rows[i].name for i in whole.rows],
            rounds=self.resamples.rounds.shape[1],
        )  # fmt: skip


def adaptivity_gain(
    ours: Measured, control: Measured, oracle: Measured, resamples: Resamples
) -> dict[str, Any]:
    """(E_control - E_ours) / (E_control - E_oracle), E = MSE on the same seeds.

    0: no better than the control, 1: as good as the oracle. Undefined unless E_control - E_oracle
    is significantly above 0: there is nothing to gain then. Over the control's seeds, which are
    ours's first ones.
    """
    n = len(control.mse)
    resamples = resamples.of_first(n)
    ours_e, control_e, oracle_e = (
        row.error("mse", resamples.seeds) for row in (ours, control, oracle)
    )
    room = control_e - oracle_e
    edge = control_e - ours_e
    shown = {"room": figure(room, n), "edge": figure(edge, n)}
    if np.percentile(room[1:], 2.5) <= 0:
        return undefined("E_control - E_oracle is not above 0", n, **shown)
    # A resample of few seeds may hold but one, that has no room.
    return figure(np.divide(edge, room, out=np.zeros_like(room), where=room != 0), n, **shown)


def conversion(ours: Measured, teacher: Measured, resamples: Resamples) -> dict[str, Any]:
    """(1 - ms ratio) / (1 - FLOPs ratio) against the teacher at equal num_steps: how much of the
    saved arithmetic becomes saved time."""
    ratio = time_ratio(ours, teacher, resamples)
    saved_flops = 1 - ours.flops / teacher.flops
    if saved_flops < MIN_SAVED:
        return undefined("no FLOPs are saved", ratio.rounds)
    return figure((1 - ratio.draws) / saved_flops, ratio.rounds)


@dataclass(frozen=True)
class TimeRatio:
    """draws: [k] of each resample; rounds: how many there were."""

    draws: np.ndarray
    rounds: int


def time_ratio(row: Measured, other: Measured, resamples: Resamples) -> TimeRatio:
    """The median of the ratios of both in the same round: a round's mood and pictures cancel, which
    they do not in a ratio of two medians. Of the rounds of pairs where both have them."""
    if row.pair_ms is not None and other.pair_ms is not None:
        ratios, taken = row.pair_ms / other.pair_ms, resamples.pairs
    else:
        assert row.ms is not None, f"{row.name} was not timed"
        assert other.ms is not None, f"{other.name} was not timed"
        ratios, taken = row.ms / other.ms, resamples.rounds
    assert taken.shape[1] == len(ratios), "resamples must be of these rounds"
    return TimeRatio(np.median(ratios[taken], axis=1), len(ratios))


def latency_saved(ours: Measured, teacher: Measured, resamples: Resamples) -> dict[str, Any]:
    """1 - ms ratio against the teacher at equal num_steps."""
    ratio = time_ratio(ours, teacher, resamples)
    fd_ratio = ours.fd / teacher.fd if ours.fd and teacher.fd else None
    return figure(1 - ratio.draws, ratio.rounds, fd_ratio=fd_ratio)


def error_ratio(row: Measured, other: Measured, which: str, resamples: Resamples) -> dict[str, Any]:
    """The row's error over the other's on the same seeds. Undefined unless the other's is
    significantly above 0."""
    errors = other.error(which, resamples.seeds)
    if np.percentile(errors[1:], 2.5) <= 0:
        return undefined(f"{other.name} is not shown to be above 0", len(row.mse))
    return figure(row.error(which, resamples.seeds) / errors, len(row.mse))


def predictor_share(ignored: Measured, full: Measured, resamples: Resamples) -> dict[str, Any]:
    """What the predictor adds to full steps that do not read it, as a share of their time."""
    ratio = time_ratio(ignored, full, resamples)
    return figure(ratio.draws - 1, ratio.rounds)
