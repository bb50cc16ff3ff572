"""The lower hull of (log cost, error): the best that a set of rows, mixed, can do at any speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Hull:
    """Corners of the lower left hull: log_cost rises while error falls strictly. rows: of each,
    empty for a hull that was kept."""

    log_cost: np.ndarray
    error: np.ndarray
    rows: tuple[int, ...] = ()

    def log_cost_at(self, error: float) -> float:
        """log cost at which the hull reaches `error`.

        Where that is below the hull's best error, the hull's best row is taken; where it is above
        its worst, its fastest.
        """
        return float(np.interp(-error, -self.error, self.log_cost))

    def misses(self, error: float) -> bool:
        """Whether `error` is worse than that of all rows, the fastest too."""
        return error > self.error[0]


def lower_hull(cost: Sequence[float] | np.ndarray, error: Sequence[float] | np.ndarray) -> Hull:
    """The hull of points (cost [k], error [k]); only its falling part, k >= 1."""
    x, y = np.log(np.asarray(cost, dtype=np.float64)), np.asarray(error, dtype=np.float64)
    corners: list[int] = []
    for i in np.lexsort((y, x)):
        if corners and y[i] >= y[corners].min():
            continue  # slower and not better: beyond the falling part
        while len(corners) >= 2 and not _turns_left(x, y, corners[-2], corners[-1], i):
            corners.pop()
        corners.append(int(i))
    return Hull(x[corners], y[corners], tuple(corners))


def _turns_left(x: np.ndarray, y: np.ndarray, a: int, b: int, c: int) -> bool:
    """Whether b lies below the line from a to c."""
    return (x[b] - x[a]) * (y[c] - y[a]) - (x[c] - x[a]) * (y[b] - y[a]) > 0
