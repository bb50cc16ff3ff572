"""Sums of pixels, from which a data set's mean and standard deviation follow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Moments:
    """Per channel sum and sum of squares of pixels scaled to [-1, 1], and how many pixels."""

    total: np.ndarray
    squares: np.ndarray
    num_pixels: int

    @classmethod
    def of(cls, pixels: np.ndarray) -> Moments:
        """pixels: uint8 [h, w, 3]."""
        values = pixels.reshape(-1, 3).astype(np.float64) / 127.5 - 1.0
        return cls(values.sum(0), (values**2).sum(0), len(values))

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.total + other.total,
            self.squares + other.squares,
            self.num_pixels + other.num_pixels,
        )

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation per channel, to six digits; zeros of no pixels."""
        num_pixels = max(self.num_pixels, 1)
        mean = self.total / num_pixels
        std = np.sqrt(np.maximum(self.squares / num_pixels - mean**2, 0.0))
        return tuple(np.round(mean, 6).tolist()), tuple(np.round(std, 6).tolist())


NO_PIXELS = Moments(np.zeros(3), np.zeros(3), 0)
