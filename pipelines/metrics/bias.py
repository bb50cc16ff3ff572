"""Bias: does a model draw some classes and colours more often than its data, and does the student
do so more than its teacher?

Classes are told by the nearest class mean of features, whitened by the pooled spread within
classes; how often that is right on held-out pictures stands beside the table. Distances are total
variation, 0 to 1. It grows as n falls, so the floor is given too: the distance of as many training
pictures drawn at random, which differ from their set by chance alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nitrogen.pipelines.metrics.bootstrap import Interval

COLOUR_LEVELS = 4  # of each channel: 64 colours
SHRINKAGE = 0.1  # of the within-class covariance towards its diagonal
RESAMPLES = 400


@dataclass(frozen=True)
class Statistics:
    """One set of pictures. classes: label of each [n]; colours: share of each of 64 colours in
    each picture [n, 64]; brightness, saturation: means of each picture in 0..1 [n]."""

    classes: np.ndarray
    colours: np.ndarray
    brightness: np.ndarray
    saturation: np.ndarray

    def __len__(self) -> int:
        return len(self.classes)


class ClassReader:
    """Tells the class of a picture from its features: the nearest mean, whitened."""

    def __init__(self, features: np.ndarray, labels: np.ndarray, num_classes: int):
        """features: [n, d] of pictures with known labels [n]."""
        rows = np.asarray(features, dtype=np.float64)
        counts = np.bincount(labels, minlength=num_classes)
        means = np.zeros((num_classes, rows.shape[1]))
        np.add.at(means, labels, rows)
        means /= np.maximum(counts, 1)[:, None]
        within = rows - means[labels]
        covariance = within.T @ within / max(1, len(rows) - 1)
        diagonal = covariance.diagonal()
        # Channels that never fire would make it singular.
        silent = 1e-6 * diagonal.mean() + 1e-12
        shrunk = (1 - SHRINKAGE) * covariance + np.diag(SHRINKAGE * diagonal + silent)
        # argmin |x - m|^2 in the whitened space = argmax of x.w - m.w / 2.
        self._weights = np.linalg.solve(shrunk, means.T)
        self._offsets = 0.5 * np.einsum("cd,dc->c", means, self._weights)
        self._offsets = np.where(counts > 0, self._offsets, np.inf)
        self.num_classes = num_classes

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """int64 [n]."""
        scores = np.asarray(features, dtype=np.float64) @ self._weights - self._offsets
        return scores.argmax(axis=1)


def statistics(images: np.ndarray, classes: np.ndarray) -> Statistics:
    """images: uint8 [n, h, w, 3]; classes: [n]."""
    level = images.astype(np.int64) * COLOUR_LEVELS // 256
    index = (level[..., 0] * COLOUR_LEVELS + level[..., 1]) * COLOUR_LEVELS + level[..., 2]
    flat = index.reshape(len(images), -1)
    colours = np.stack([np.bincount(row, minlength=COLOUR_LEVELS**3) for row in flat])
    values = images.astype(np.float64) / 255
    top, low = values.max(axis=-1), values.min(axis=-1)
    saturation = np.where(top > 0, (top - low) / np.maximum(top, 1e-9), 0.0)
    return Statistics(
        np.asarray(classes), colours / flat.shape[1], values.mean(axis=(1, 2, 3)),
        saturation.mean(axis=(1, 2)),
    )  # fmt: skip


def class_shares(stats: Statistics, rows: np.ndarray, num_classes: int) -> np.ndarray:
    """Shares of the classes among the pictures at `rows` [..., n] -> [..., num_classes]."""
    hits = np.eye(num_classes)[stats.classes]
    return hits[rows].mean(axis=-2)


def total_variation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Half the sum of absolute differences of two distributions over the last axis."""
    return 0.5 * np.abs(a - b).sum(axis=-1)


def distance(stats: Statistics, data: Statistics, what: str, num_classes: int) -> Interval:
    """Total variation to the data, with a 95 % bootstrap interval over the pictures.

    what: "classes" or "colours".
    """
    rows = np.random.default_rng(0).integers(0, len(stats), (RESAMPLES, len(stats)))
    whole = np.arange(len(stats))[None]
    target = shares(data, np.arange(len(data))[None], what, num_classes)[0]
    drawn = [
        total_variation(shares(stats, part, what, num_classes), target)
        for part in [whole, *np.array_split(rows, 20)]
    ]
    spread = np.concatenate(drawn[1:])
    low, high = np.percentile(spread - spread.mean() + drawn[0][0], [2.5, 97.5])
    return Interval(float(drawn[0][0]), max(0.0, float(low)), float(high), len(stats))


def excess(
    stats: Statistics, base: Statistics, data: Statistics, what: str, num_classes: int
) -> Interval:
    """How much farther from the data than `base`: the difference of both distances, 95 % interval.

    Pictures of the same seeds stand at the same places of both sets: they are resampled together.
    """
    if len(stats) != len(base):
        raise ValueError(f"both sets must be pairs, got {len(stats)} and {len(base)} pictures.")
    target = shares(data, np.arange(len(data))[None], what, num_classes)[0]
    rows = np.random.default_rng(2).integers(0, len(stats), (RESAMPLES, len(stats)))
    whole = np.arange(len(stats))[None]
    drawn = [
        total_variation(shares(stats, part, what, num_classes), target)
        - total_variation(shares(base, part, what, num_classes), target)
        for part in [whole, *np.array_split(rows, 20)]
    ]
    spread = np.concatenate(drawn[1:])
    low, high = np.percentile(spread - spread.mean() + drawn[0][0], [2.5, 97.5])
    return Interval(float(drawn[0][0]), float(low), float(high), len(stats))


def shares(stats: Statistics, rows: np.ndarray, what: str, num_classes: int) -> np.ndarray:
    """[k, options] distribution over classes or colours of each row of indices [k, n]."""
    if what == "classes":
        return class_shares(stats, rows, num_classes)
    # Counts of each picture in each resample, so that [k, n] x [n, 64] does it at once.
    counts = np.stack([np.bincount(row, minlength=len(stats)) for row in rows])
    return counts @ stats.colours / rows.shape[1]


def floor(data: Statistics, num: int, what: str, num_classes: int) -> float:
    """Median total variation of `num` pictures drawn from the data itself: chance alone."""
    rows = np.random.default_rng(1).integers(0, len(data), (50, num))
    target = shares(data, np.arange(len(data))[None], what, num_classes)[0]
    return float(np.median(total_variation(shares(data, rows, what, num_classes), target)))


def bias_table(
    sets: Mapping[str, tuple[np.ndarray, np.ndarray]],
    data: tuple[np.ndarray, np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray],
    class_names: Sequence[str],
) -> dict[str, Any]:
    """The table as JSON values.

    sets: name -> (images uint8, features) of each model, the teacher first, all of the same seeds:
    the others get `over_teacher`, how much farther from the data they are than it; data: (images,
    features, labels) of the training split; held_out: (features, labels), for the reader's
    accuracy.
    """
    images, features, labels = data
    reader = ClassReader(features, labels, len(class_names))
    everything = statistics(images, reader(features))
    rows = [row("data", everything, everything, class_names)]
    known = {name: statistics(drawn, reader(found)) for name, (drawn, found) in sets.items()}
    for name, mine in known.items():
        made = row(name, mine, everything, class_names)
        teacher = next(iter(known.values()))
        if mine is not teacher:
            made["over_teacher"] = {
                what: excess(mine, teacher, everything, what, len(class_names)).to_dict()
                for what in ("classes", "colours")
            }
        rows.append(made)
    smallest = min((len(drawn) for drawn, _ in sets.values()), default=len(images))
    return {
        "rows": rows,
        "classes": list(class_names),
        "accuracy": float((reader(held_out[0]) == held_out[1]).mean()),
        "floor": {
            what: floor(everything, smallest, what, len(class_names))
            for what in ("classes", "colours")
        },
        "n_floor": smallest,
    }


def row(
    name: str, stats: Statistics, data: Statistics, class_names: Sequence[str]
) -> dict[str, Any]:
    """Shares, means and distances to the data of one set; the class that gained or lost most."""
    num = len(class_names)
    mine = class_shares(stats, np.arange(len(stats)), num)
    theirs = class_shares(data, np.arange(len(data)), num)
    gap = mine - theirs
    most = int(np.abs(gap).argmax())
    same = stats is data
    return {
        "name": name,
        "n": len(stats),
        "class_shares": mine.tolist(),
        "colour_shares": stats.colours.mean(axis=0).tolist(),
        "brightness": float(stats.brightness.mean()),
        "saturation": float(stats.saturation.mean()),
        "classes": None if same else distance(stats, data, "classes", num).to_dict(),
        "colours": None if same else distance(stats, data, "colours", num).to_dict(),
        "largest_gap": None if same else {"class": class_names[most], "share": float(gap[most])},
    }
