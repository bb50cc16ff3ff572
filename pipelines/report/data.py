"""What a report shows. Every section is optional: what is missing is named, never invented.

`ReportData` is plain values: text, numbers, and pictures as uint8 arrays [n, h, w, 3].
`page.render(data)` turns it into one HTML file; `collect.collect(inputs)` fills it from the
results of the pipeline's steps and documents every key that it reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Measured:
    """A number with what makes it worth something; low and high are its 95 % interval."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None

    @classmethod
    def read(cls, value: Any) -> Measured | None:
        """From a number, a dict {"value", "low", "high", "n"} or None."""
        if value is None or isinstance(value, Measured):
            return value
        if isinstance(value, Mapping):
            if value.get("value") is None:
                return None
            return cls(value["value"], value.get("low"), value.get("high"), value.get("n"))
        return cls(float(value))


@dataclass(frozen=True)
class Tile:
    """One headline number: label "student fd_lite0", value "184", detail "n = 2,048, ..."."""

    label: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class Curve:
    """A loss over training: images and values of equal length."""

    label: str
    images: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True)
class CurvePanel:
    """Curves that share one chart: title "Teacher", several losses."""

    title: str
    curves: Sequence[Curve]


@dataclass(frozen=True)
class Samples:
    """Pictures of teacher and student from the same seeds and labels, first n shown.

    teacher, student: uint8 [n, h, w, 3]; labels: class names [n]; seeds [n];
    heatmaps: [n_h, steps, rows, cols] in 0..1, the share of full compute spent on each region of
    the student's first n_h pictures at each step; sigmas [steps], if known;
    active_fraction [n]: share of the compute of full forwards, if known.
    """

    teacher: np.ndarray
    student: np.ndarray
    labels: Sequence[str] = ()
    seeds: Sequence[int] = ()
    heatmaps: np.ndarray | None = None
    sigmas: Sequence[float] | None = None
    active_fraction: Sequence[float] | None = None


@dataclass(frozen=True)
class LabelledImages:
    """A grid with its own caption: images uint8 [n, h, w, 3], labels [n] or empty."""

    images: np.ndarray
    labels: Sequence[str] = ()
    caption: str = ""


@dataclass(frozen=True)
class ParetoPoint:
    """One operating point: compute (GFLOPs an image) against distance (lower is better)."""

    gflops: float
    distance: float
    label: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Pareto:
    """The sweep: all points, the front's indices into them, and what it has to beat.

    full_curve: the full model with fewer steps, each labelled by its number of steps.
    static_curve: the student's own static widths. chosen: the point that was promoted; reason: why.
    """

    metric: str
    points: Sequence[ParetoPoint]
    front: Sequence[int] = ()
    full_curve: Sequence[ParetoPoint] = ()
    static_curve: Sequence[ParetoPoint] = ()
    chosen: ParetoPoint | None = None
    reason: str = ""
    split: str = ""
    num_trials: int | None = None


@dataclass(frozen=True)
class EvaluationRow:
    """One model at one setting, measured in `evaluate`; what was not measured is None."""

    name: str
    steps: int | None = None
    fd_lite0: Measured | None = None
    kid: Measured | None = None
    fid: Measured | None = None
    psnr_db: Measured | None = None
    gflops: float | None = None
    gflops_full: float | None = None
    ms_p50: float | None = None
    ms_p95: float | None = None
    num_timings: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Claim:
    """A sentence that a reader may check: value, 95 % interval, n, split, command, commit.

    no_interval: why there is no interval, where there is none; words, interval_words: value and
    interval as they are shown, where a bare number would read wrongly ("34 % slower").
    """

    text: str
    value: float | str | None = None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    n: int | None = None
    command: str = ""
    commit: str = ""
    split: str = ""
    no_interval: str = ""
    words: str = ""
    interval_words: str = ""


@dataclass(frozen=True)
class Verdict:
    """Student against the teacher with fewer steps: one sentence, what it rests on, and the same
    as a claim, if both were timed."""

    sentence: str
    basis: str = ""
    claim: Claim | None = None


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


@dataclass(frozen=True)
class GateRow:
    """One promotion gate and how it was decided."""

    name: str
    passed: bool
    detail: str = ""


@dataclass(frozen=True)
class HowTo:
    """A task and the command that does it."""

    title: str
    command: str


@dataclass(frozen=True)
class ReportData:
    """Everything on the page. facts and each section's items keep their order."""

    title: str = "NitroGen report"
    subtitle: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    tiles: Sequence[Tile] = ()
    verdict: Verdict | None = None
    panels: Sequence[CurvePanel] = ()
    samples: Samples | None = None
    pareto: Pareto | None = None
    rows: Sequence[EvaluationRow] = ()
    claims: Sequence[Claim] = ()
    neighbours: NeighbourRows | None = None
    bias: Bias | None = None
    reliability: Reliability | None = None
    gates: Sequence[GateRow] = ()
    promotion: str = ""
    shipped: LabelledImages | None = None
    howto: Sequence[HowTo] = ()
    notes: Sequence[str] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
