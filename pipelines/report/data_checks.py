"""What a report checks of a model: copies, bias, and how well its errors are predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nitrogen.pipelines.report.measured import Measured


@dataclass(frozen=True)
class NeighbourRows:
    """Samples beside their nearest training pictures.

    samples: uint8 [q, h, w, 3]; by_features, by_pixels: uint8 [q, k, h, w, 3] or None;
    summary: the dict of metrics.neighbours.Neighbours.to_dict(), if known.
    """

    samples: np.ndarray
    by_features: np.ndarray | None = None
    by_pixels: np.ndarray | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BiasRow:
    """Classes and colours of one set of pictures: distances to the data, 0 to 1, and means.

    gap_class, gap: the class whose share differs most from the data's, and by how much;
    class_shares, colour_shares: of all classes and of 64 colours, if known; classes_over_teacher,
    colours_over_teacher: how much farther from the data than the teacher's pictures.
    """

    name: str
    n: int
    brightness: float
    saturation: float
    classes: Measured | None = None
    colours: Measured | None = None
    gap_class: str = ""
    gap: float | None = None
    class_shares: Sequence[float] = ()
    colour_shares: Sequence[float] = ()
    classes_over_teacher: Measured | None = None
    colours_over_teacher: Measured | None = None


@dataclass(frozen=True)
class Bias:
    """rows: the data first; accuracy: of the class reader on held-out pictures; class_floor,
    colour_floor: distances that chance alone gives to n_floor pictures of the data; classes: their
    names, in the order of class_shares."""

    rows: Sequence[BiasRow]
    accuracy: float
    class_floor: float
    colour_floor: float
    n_floor: int
    classes: Sequence[str] = ()


@dataclass(frozen=True)
class ReliabilityBin:
    """Regions of about one predicted error: means of both, and the interval of the true one's."""

    predicted: float
    actual: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Reliability:
    """Predicted against true errors of holding a region, of n pictures at num_steps; log_gap: mean
    over the bins of |ln(predicted / actual)|, 0 when calibrated."""

    bins: Sequence[ReliabilityBin]
    log_gap: float
    n: int
    num_steps: int
