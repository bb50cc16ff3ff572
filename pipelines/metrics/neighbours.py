"""Nearest training pictures of samples, in feature space and in pixels: is it a copy?

A sample is suspicious when it lies closer to a training picture than fresh real pictures do, so
the distances of a held-out split give the yardstick.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

_BLOCK_ROWS = 64  # 64 x 11 candidates of a 64 px picture are 70 MB.


@dataclass(frozen=True)
class Nearest:
    """indices int64 [q, k] into the training set, distances float64 [q, k], nearest first."""

    indices: np.ndarray
    distances: np.ndarray


@dataclass(frozen=True)
class Neighbours:
    """Nearest training pictures of q samples by both measures.

    by_features: Euclidean distance of features. by_pixels: RMSE in units of the full range.
    closer_than_held_out: share of samples whose nearest feature distance is below the 5th
    percentile of held-out pictures'; about 0.05 for a model that copies no more than chance.
    None without a held-out set.
    """

    by_features: Nearest
    by_pixels: Nearest
    closer_than_held_out: float | None = None
    num_held_out: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Medians of the nearest distances and the share, plain numbers."""
        return {
            "n": len(self.by_features.indices),
            "median_feature_distance": float(np.median(self.by_features.distances[:, 0])),
            "median_pixel_rmse": float(np.median(self.by_pixels.distances[:, 0])),
            "closer_than_held_out": self.closer_than_held_out,
            "num_held_out": self.num_held_out,
        }


def nearest(queries: np.ndarray, candidates: np.ndarray, k: int = 3) -> Nearest:
    """The k nearest rows of candidates [m, d] for each row of queries [q, d], Euclidean, exact."""
    if not 1 <= k <= len(candidates):
        raise ValueError(f"k must be in 1..{len(candidates)} (the candidates), got {k}.")
    rows = np.asarray(queries, dtype=np.float32)
    pool = np.asarray(candidates, dtype=np.float32)
    squares = np.square(pool, dtype=np.float64).sum(axis=1)
    blocks = [
        _nearest_block(rows[start : start + _BLOCK_ROWS], pool, squares, k)
        for start in range(0, len(rows), _BLOCK_ROWS)
    ]
    return Nearest(
        indices=np.concatenate([block.indices for block in blocks]),
        distances=np.concatenate([block.distances for block in blocks]),
    )


def nearest_training_images(
    samples: np.ndarray,
    training: np.ndarray,
    extract: Callable[[np.ndarray], np.ndarray],
    *,
    k: int = 3,
    training_features: np.ndarray | None = None,
    held_out_features: np.ndarray | None = None,
) -> Neighbours:
    """Neighbours of samples uint8 [q, h, w, c] among training [m, h, w, c].

    extract: pictures -> features [n, d] (a FeatureNet); training_features [m, d] spares computing
    them again; held_out_features [v, d] gives the yardstick.
    """
    features = extract(samples)
    pool = extract(training) if training_features is None else training_features
    by_features = nearest(features, pool, k)
    pixels = nearest(_flat(samples), _flat(training), k)
    by_pixels = Nearest(pixels.indices, pixels.distances / np.sqrt(samples[0].size))
    share = None
    if held_out_features is not None and len(held_out_features):
        threshold = np.percentile(nearest(held_out_features, pool, 1).distances, 5.0)
        share = float(np.mean(by_features.distances[:, 0] < threshold))
    num_held_out = 0 if held_out_features is None else len(held_out_features)
    return Neighbours(by_features, by_pixels, share, num_held_out)


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float32) / 255.0


def _nearest_block(rows: np.ndarray, pool: np.ndarray, squares: np.ndarray, k: int) -> Nearest:
    """Rank by |x|^2 - 2 x.y, then measure the winners exactly (the expansion loses digits at 0)."""
    score = squares - 2.0 * (rows @ pool.T)
    shortlist = np.argpartition(score, min(k + 8, len(pool)) - 1, axis=1)[:, : k + 8]
    gaps = rows[:, None, :].astype(np.float64) - pool[shortlist]
    distances = np.sqrt(np.square(gaps).sum(axis=2))
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return Nearest(
        indices=np.take_along_axis(shortlist, order, axis=1).astype(np.int64),
        distances=np.take_along_axis(distances, order, axis=1),
    )
