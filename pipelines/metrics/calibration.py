"""Is a predicted error to be trusted: a reliability curve, and a threshold with a guarantee.

`exit_threshold` answers: below which prediction may a region exit so that P(error > eps | exit) is
at most delta? Regions of one picture depend on each other, so a picture has one vote: one of its
exits, drawn at random. The votes are independent; each candidate threshold is tested by an exact
binomial bound, from the smallest with enough votes up, and the first that fails ends the walk
(fixed sequence testing: no correction for the number of candidates is due). The result holds on
new pictures with probability 1 - alpha over the calibration set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

NUM_BINS = 12
ALPHA = 0.05  # that a promise is broken on new pictures


@dataclass(frozen=True)
class Threshold:
    """value: the largest accepted threshold, None when not even the smallest one is; bound: the
    upper bound on P(error > eps | exit) there; votes: pictures with an exit."""

    value: float | None
    bound: float | None
    eps: float
    delta: float
    alpha: float
    votes: int

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


def reliability(predicted: np.ndarray, actual: np.ndarray, bins: int = NUM_BINS) -> dict[str, Any]:
    """Bins of equal count by prediction: mean prediction, mean error, 95 % interval of the mean.

    predicted, actual: [n] or [pictures, ...] mean squared errors. rows: {predicted, actual, low,
    high, n}; log_gap: mean over bins of |ln(mean prediction / mean error)|, 0 when calibrated.
    """
    p, a = np.ravel(predicted).astype(np.float64), np.ravel(actual).astype(np.float64)
    parts = np.array_split(np.argsort(p, kind="stable"), min(bins, len(p)))
    rows = []
    for part in parts:
        spread = 1.96 * a[part].std() / math.sqrt(len(part))
        mean = float(a[part].mean())
        rows.append(
            {
                "predicted": float(p[part].mean()),
                "actual": mean,
                "low": max(0.0, mean - spread),
                "high": mean + spread,
                "n": len(part),
            }
        )
    logs = [abs(math.log(max(r["predicted"], 1e-12) / max(r["actual"], 1e-12))) for r in rows]
    return {"rows": rows, "log_gap": float(np.mean(logs))}


def exit_threshold(
    predicted: np.ndarray,
    actual: np.ndarray,
    *,
    eps: float,
    delta: float,
    candidates: Sequence[float],
    alpha: float = ALPHA,
    seed: int = 0,
) -> Threshold:
    """The largest candidate below which a region may exit; see the module's docstring.

    predicted, actual: [pictures, k], NaN where a region cannot exit.
    """
    chosen, bound, votes = None, None, 0
    enough = votes_needed(delta, alpha)
    for candidate in sorted(candidates):
        bad, num = exceedances(predicted, actual, candidate, eps, seed)
        if num < enough:
            continue  # could not pass whatever the errors are, so nothing is tested yet
        upper = binomial_upper(bad, num, alpha)
        if upper > delta:
            break
        chosen, bound, votes = float(candidate), upper, num
    return Threshold(chosen, bound, eps, delta, alpha, votes)


def votes_needed(delta: float, alpha: float) -> int:
    """The fewest votes, all of them good, whose upper bound is at most delta: 29 for 0.1 at 0.05.

    Which candidates have as many is seen from the predictions alone, so that leaving out the others
    gives no second chance.
    """
    return math.ceil(math.log(alpha) / math.log(1 - delta))


def exceedances(
    predicted: np.ndarray, actual: np.ndarray, threshold: float, eps: float, seed: int
) -> tuple[int, int]:
    """Of the pictures with an exit, one vote each: how many vote for an error above eps."""
    exits = (predicted < threshold) & ~np.isnan(actual)
    some = exits.any(axis=1)
    # A stream of its own: whoever drew the data may have used the plain seed.
    draws = np.random.default_rng([seed, 0x707]).random(predicted.shape)
    pick = np.where(exits, draws, -1.0).argmax(axis=1)
    errors = actual[np.arange(len(actual)), pick][some]
    return int((errors > eps).sum()), int(some.sum())


def realised(
    predicted: np.ndarray,
    actual: np.ndarray,
    threshold: float,
    eps: float,
    alpha: float = ALPHA,
    seed: int = 0,
) -> dict[str, Any]:
    """On unseen pictures: the share of exits whose error is above eps, mean over pictures with an
    exit, with its 95 % interval, and the share of region-steps that exit.

    The interval is a normal one, of no width where nothing is above eps. bound: of P(error > eps |
    exit) by one vote a picture, exact for however few pictures, as thresholds are chosen by.
    """
    exits = (predicted < threshold) & ~np.isnan(actual)
    count = exits.sum(axis=1)
    share = ((actual > eps) & exits).sum(axis=1)[count > 0] / count[count > 0]
    known = ~np.isnan(actual)
    if not len(share):
        return {
            "value": None, "low": None, "high": None, "bound": None, "n": 0, "exit_share": 0.0,
        }  # fmt: skip
    spread = 1.96 * share.std() / math.sqrt(len(share))
    value = float(share.mean())
    return {
        "value": value,
        "low": max(0.0, value - spread),
        "high": min(1.0, value + spread),
        "bound": binomial_upper(*exceedances(predicted, actual, threshold, eps, seed), alpha),
        "n": len(share),
        "exit_share": float(exits.sum() / max(1, known.sum())),
    }


def binomial_upper(bad: int, num: int, alpha: float) -> float:
    """Clopper-Pearson: the largest p under which `bad` or fewer of num are not too rare."""
    if bad >= num:
        return 1.0
    low, high = bad / num, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _cdf(bad, num, middle) > alpha else (low, middle)
    return high


def _cdf(k: int, n: int, p: float) -> float:
    """P(X <= k) for X binomial(n, p), 0 < p < 1."""
    if p <= 0:
        return 1.0
    if p >= 1:
        return 0.0
    logs = [
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1)
        + i * math.log(p) + (n - i) * math.log1p(-p)
        for i in range(k + 1)
    ]  # fmt: skip
    return math.fsum(math.exp(value) for value in logs)
