"""What a setting is worth on validation seeds: error, distance to the data, and cost.

Two choices are made by it: which finalist of a tier is taken (finalists.py), and the least budget
that is as near as the teacher (saving.py). The report split has no part in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nitrogen.pipelines.bench.methods import Method
from nitrogen.pipelines.bench.quality import Yardstick, squared_errors
from nitrogen.pipelines.bench.tuning import Tuning
from nitrogen.pipelines.metrics.kernel import kernel_distance
from nitrogen.pipelines.sampling import Draws

NUM_NEAR = 384  # pictures whose error is taken: as many as a `day` compares


@dataclass(frozen=True)
class Judged:
    """mse: mean squared error to the teacher's 64-step pictures of the same seeds; distance: of all
    pictures to the training split; spent: FLOPs of a picture, with those that its steps' time would
    pay."""

    mse: float
    distance: float
    spent: float


@dataclass(frozen=True)
class Judge:
    """tuning: how a method is sampled, and what it cost; drawn: the seeds; target: [m, h, w, c] the
    teacher's pictures of those seeds that `near` counts."""

    tuning: Tuning
    yardstick: Yardstick
    drawn: Draws
    target: np.ndarray

    def __call__(self, method: Method) -> Judged:
        sampled = self.tuning.sampled(method, self.drawn)
        part = near(len(self.tuning.drawn), len(self.drawn))
        mse = float(squared_errors(sampled.x_0[part], self.target).mean())
        distance = to_the_data(self.yardstick, sampled.images)
        return Judged(mse, distance, self.tuning.spent(sampled))


def near(num_searched: int, num_drawn: int) -> slice:
    """Whose error is taken: seeds after those that a search chose its best by, for the best of many
    is better there than it is; all of them where there are no others."""
    if num_drawn <= num_searched:
        return slice(0, num_drawn)
    return slice(num_searched, min(num_drawn, num_searched + NUM_NEAR))


def to_the_data(yardstick: Yardstick, images: np.ndarray) -> float:
    """fd_lite0 to the training split, as that of rows; KID to it where pictures are too few."""
    features = yardstick.extract(images)
    distance = yardstick.fd(features) or kernel_distance(features, yardstick.train)
    return distance.value
