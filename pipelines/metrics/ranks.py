"""Rank correlation, row by row: whether what is predicted to be larger is larger."""

import numpy as np


def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[n] rank correlation of each row of a and b, [n, k], n >= 0, ties at their mean rank: a
    wider width that is predicted to be no better gains 0 in many regions. NaN where a row is
    constant or holds a NaN."""
    known = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    ranks = [np.array([mean_ranks(row) for row in one]).reshape(one.shape) for one in (a, b)]
    centred = [one - one.mean(axis=1, keepdims=True) for one in ranks]
    both = (centred[0] * centred[1]).sum(axis=1)
    size = np.sqrt((centred[0] ** 2).sum(axis=1) * (centred[1] ** 2).sum(axis=1))
    return np.divide(both, size, out=np.full(len(both), np.nan), where=known & (size > 0))


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """[n] from 0 on; equal values have the mean of their ranks."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts + 1) / 2)[which]
