"""What a report shows. Every section is optional: what is missing is named, never invented.

`ReportData` is plain values: text, numbers, and pictures as uint8 arrays [n, h, w, 3].
`page.render(data)` turns it into one HTML file; `collect.collect(inputs)` fills it from the
results of the pipeline's steps and documents every key that it reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nitrogen.pipelines.report.data_checks import Bias, NeighbourRows, Reliability
from nitrogen.pipelines.report.measured import Measured


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
