"""Intervals: what a number is worth. Paired bootstrap, and estimates with influence values.

Everything is deterministic: the resampling is seeded, so the same values give the same interval.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

Z95 = 1.959964  # Two-sided 95 % of the normal distribution.
Statistic = Callable[[np.ndarray], np.ndarray]  # [..., n] -> [...], reduces the last axis.


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval and the number of independent samples behind it."""

    value: float
    low: float
    high: float
    n: int

    def to_dict(self) -> dict[str, Any]:
        """{"value", "low", "high", "n"}, plain numbers."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Estimate(Interval):
    """An Interval from a distance between two sets of pictures, by the delta method.

    influence [n] and influence_reference [n_reference] say how each picture moves the value
    (mean 0): their spread gives standard_error, and pairing two of them gives the interval of a
    difference. low and high are value -+ 1.96 standard_error.
    """

    n_reference: int = 0
    standard_error: float = 0.0
    influence: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    influence_reference: np.ndarray = field(
        default_factory=lambda: np.zeros(0), repr=False, compare=False
    )

    def to_dict(self) -> dict[str, Any]:
        """{"value", "low", "high", "n", "n_reference", "standard_error"}, plain numbers."""
        return super().to_dict() | {
            "n_reference": self.n_reference,
            "standard_error": self.standard_error,
        }


def estimate(value: float, influence: np.ndarray, influence_reference: np.ndarray) -> Estimate:
    """The Estimate of `value`; both sets are independent samples, so their variances add."""
    error = float(np.sqrt(_mean_variance(influence) + _mean_variance(influence_reference)))
    return Estimate(
        value=float(value),
        low=float(value - Z95 * error),
        high=float(value + Z95 * error),
        n=len(influence),
        n_reference=len(influence_reference),
        standard_error=error,
        influence=influence,
        influence_reference=influence_reference,
    )


def paired_difference(candidate: Estimate, baseline: Estimate) -> Interval:
    """candidate - baseline with its 95 % interval; much narrower than the two intervals apart.

    Both must come from the same reference pictures. Samples are paired (same seeds and labels)
    when their numbers agree; otherwise they are taken as independent.
    """
    if candidate.n_reference != baseline.n_reference:
        raise ValueError(
            f"n_reference must agree, got {candidate.n_reference} and {baseline.n_reference}. "
            "Compare both with the same reference pictures."
        )
    variance = _mean_variance(candidate.influence_reference - baseline.influence_reference)
    if candidate.n == baseline.n:
        variance += _mean_variance(candidate.influence - baseline.influence)
    else:
        variance += _mean_variance(candidate.influence) + _mean_variance(baseline.influence)
    value = candidate.value - baseline.value
    margin = Z95 * float(np.sqrt(variance))
    return Interval(value, value - margin, value + margin, min(candidate.n, baseline.n))


def paired_ratio(candidate: Estimate, baseline: Estimate) -> Interval:
    """candidate / baseline with its 95 % interval, by the delta method on both sets' influences.

    Pairing as in `paired_difference`. The baseline should be away from 0 by its own interval.
    """
    ratio = candidate.value / baseline.value
    # d(a / b) = (da - (a / b) db) / b: the difference of the candidate and a scaled baseline.
    scaled = replace(
        baseline,
        value=ratio * baseline.value,
        influence=ratio * baseline.influence,
        influence_reference=ratio * baseline.influence_reference,
    )
    difference = paired_difference(candidate, scaled)
    margin = (difference.high - difference.low) / 2 / abs(baseline.value)
    return Interval(ratio, ratio - margin, ratio + margin, difference.n)


def bootstrap(
    values: np.ndarray, statistic: Statistic | None = None, *, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Percentile bootstrap of statistic(values); values [n], the statistic is the mean if None."""
    values = _finite(values)
    reduce = statistic or _mean
    draws = [reduce(values[rows]) for rows in _resampled_rows(len(values), resamples, seed)]
    return _percentiles(float(reduce(values)), np.concatenate(draws), len(values))


def paired_bootstrap(
    candidate: np.ndarray,
    baseline: np.ndarray,
    statistic: Statistic | None = None,
    *,
    ratio: bool = False,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """statistic(candidate) - statistic(baseline), or their ratio, resampling pairs together.

    candidate, baseline: [n], element i of both belongs to the same seed (or the same repetition).
    """
    candidate, baseline = _finite(candidate), _finite(baseline)
    if candidate.shape != baseline.shape:
        raise ValueError(
            f"candidate and baseline must be pairs, got {len(candidate)} and {len(baseline)}."
        )
    reduce = statistic or _mean

    def compare(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return reduce(a) / reduce(b) if ratio else reduce(a) - reduce(b)

    draws = [
        compare(candidate[rows], baseline[rows])
        for rows in _resampled_rows(len(candidate), resamples, seed)
    ]
    return _percentiles(float(compare(candidate, baseline)), np.concatenate(draws), len(candidate))


def _mean(values: np.ndarray) -> np.ndarray:
    return np.mean(values, axis=-1)


def _mean_variance(influence: np.ndarray) -> float:
    """Variance of the mean of the influence values; 0 for fewer than 2."""
    return float(np.var(influence, ddof=1) / len(influence)) if len(influence) > 1 else 0.0


def _finite(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"values must be finite numbers [n], n >= 1, got shape {values.shape}.")
    return values


def _resampled_rows(n: int, resamples: int, seed: int) -> list[np.ndarray]:
    """Indices [chunk, n] in chunks of at most about 4 million numbers, `resamples` rows in all."""
    generator = np.random.default_rng(seed)
    chunk = max(1, min(resamples, 4_000_000 // n))
    sizes = [min(chunk, resamples - start) for start in range(0, resamples, chunk)]
    return [generator.integers(0, n, (size, n)) for size in sizes]


def _percentiles(value: float, draws: np.ndarray, n: int) -> Interval:
    low, high = np.percentile(draws, [2.5, 97.5])
    return Interval(value, float(low), float(high), n)
