"""Which pictures are in which batch: pure functions of the seed and the global step.

Nothing is remembered between calls, so a resumed run sees the batches it would have seen, and a
rank that takes `indices[rank::world_size]` shares one global batch with the others.
"""

import functools
from collections.abc import Sequence

import numpy as np


def batch_indices(
    seed: int,
    global_step: int,
    batch_size: int,
    num_images: int,
    class_weights: np.ndarray | Sequence[float] | None = None,
) -> np.ndarray:
    """Returns int64 [batch_size], positions in the data set.

    Without weights every epoch is a permutation of all pictures. With `class_weights` (one
    weight a picture, [num_images], see `balance_weights`) pictures are drawn with replacement in
    proportion. Raises ValueError when there is nothing to draw from.
    """
    if num_images < 1 or batch_size < 1 or global_step < 0:
        raise ValueError(
            "num_images and batch_size must be at least 1 and global_step at least 0, got "
            f"{num_images}, {batch_size} and {global_step}."
        )
    if class_weights is not None:
        return _weighted(seed, global_step, batch_size, num_images, np.asarray(class_weights))
    positions = global_step * batch_size + np.arange(batch_size, dtype=np.int64)
    epochs, offsets = np.divmod(positions, num_images)
    out = np.empty(batch_size, np.int64)
    for epoch in np.unique(epochs):
        mine = epochs == epoch
        out[mine] = _permutation(seed, int(epoch), num_images)[offsets[mine]]
    return out


def balance_weights(labels: np.ndarray, power: float = 1.0) -> np.ndarray:
    """Returns float64 [n]: a weight a picture, so that every class is drawn equally often.

    labels: int [n]. power 0 leaves the frequencies as they are, 1 makes them equal.
    """
    counts = np.bincount(labels)
    weights = counts[labels].astype(np.float64) ** -power
    return weights / weights.sum()


def _weighted(
    seed: int, global_step: int, batch_size: int, num_images: int, weights: np.ndarray
) -> np.ndarray:
    if weights.shape != (num_images,) or not np.all(weights >= 0) or not weights.sum() > 0:
        raise ValueError(
            f"class_weights must be {num_images} numbers of at least 0, not all 0, got shape "
            f"{weights.shape}. Use balance_weights(labels)."
        )
    cumulative = np.cumsum(weights, dtype=np.float64)
    draws = generator(seed, global_step).random(batch_size) * cumulative[-1]
    found = np.searchsorted(cumulative, draws, side="right")
    # Rounding may place a draw on the very end: the last picture that has a weight.
    return np.minimum(found, int(np.flatnonzero(weights)[-1])).astype(np.int64)


def generator(*key: int) -> np.random.Generator:
    """A generator that depends on nothing but `key` (integers of at least 0)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, num_images: int) -> np.ndarray:
    order = generator(seed, epoch).permutation(num_images)
    order.setflags(write=False)
    return order
