"""Made-up but complete report data for the tests of the page."""

from __future__ import annotations

import numpy as np
import pytest

from nitrogen.pipelines.report.data import (
    Claim,
    Curve,
    CurvePanel,
    EvaluationRow,
    GateRow,
    HowTo,
    LabelledImages,
    Pareto,
    ParetoPoint,
    ReportData,
    Samples,
    Tile,
)
from nitrogen.pipelines.report.data_checks import (
    Bias,
    BiasRow,
    NeighbourRows,
    Reliability,
    ReliabilityBin,
)
from nitrogen.pipelines.report.measured import Measured


@pytest.fixture(scope="session")
def full_report() -> ReportData:
    """Every section, with markup in the texts and five random pictures of 32 px."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    curve = Curve("loss", list(range(0, 6400, 64)), list(np.geomspace(1, 0.05, 100)))
    points = [ParetoPoint(0.1 * i, 1.0 / i, f"p{i}") for i in range(1, 7)]
    full = [ParetoPoint(0.2 * i, 1.5 / i, str(4 * i)) for i in range(1, 5)]
    return ReportData(
        title="demo & <b>more</b>",
        facts={"Commit": "abc1234", "Data": "emoji"},
        tiles=[Tile("Compute", "50 %", "of the teacher")],
        panels=[CurvePanel("Teacher", [curve]), CurvePanel("Student", [curve, curve])],
        samples=Samples(
            teacher=images,
            student=255 - images,
            labels=["cat", "dog", "<script>alert(1)</script>", "sun", "cup"],
            seeds=[7, 8, 9, 10, 11],
            heatmaps=generator.random((3, 12, 4, 4)),
            sigmas=list(np.geomspace(80, 0.02, 12)),
            active_fraction=[0.5] * 5,
        ),
        pareto=Pareto(
            metric="KID",
            points=points,
            front=[0, 2],
            full_curve=full,
            static_curve=[points[1]],
            chosen=ParetoPoint(0.3, 0.4, "", 0.3, 0.5),
            reason="no point is within 2 times the full model's distance; the nearest was taken",
            split="validation",
            num_trials=4,
        ),
        rows=evaluation_rows(),
        claims=[
            Claim("Faster", 1.92, "x", 1.84, 1.99, 40, "nitrogen evaluate", "abc1234"),
            Claim("Beats the baseline", "yes"),
        ],
        neighbours=NeighbourRows(
            samples=images[:2],
            by_features=np.stack([images[:3]] * 2),
            summary={"n": 64, "closer_than_held_out": 0.06, "num_held_out": 100},
        ),
        bias=Bias(
            rows=[
                BiasRow("data", 5099, 0.8, 0.3),
                BiasRow(
                    "student, <b>adaptive</b>",
                    2048,
                    0.7,
                    0.35,
                    Measured(0.12, 0.1, 0.14),
                    Measured(0.05, 0.04, 0.06),
                    "flags/noto",
                    -0.034,
                ),
            ],
            accuracy=0.61,
            class_floor=0.03,
            colour_floor=0.01,
            n_floor=2048,
        ),
        reliability=Reliability(
            bins=[
                ReliabilityBin(10.0**-k, 1.3 * 10.0**-k, 10.0**-k, 1.6 * 10.0**-k, 256)
                for k in (5, 4, 3, 2)
            ],
            log_gap=0.262,
            n=64,
            num_steps=12,
        ),
        gates=[GateRow("fd_lite0", True, "641 <= 1,747"), GateRow("compute", False, "0.6 > 0.5")],
        promotion="demo version 3 is the champion.",
        shipped=LabelledImages(images, ["a"] * 5, "Shipped weights, trained longer."),
        howto=[HowTo("Serve", "nitrogen serve")],
        notes=["12 pictures could not be read."],
        missing={"true FID": "not asked for"},
    )


@pytest.fixture(scope="session")
def html(full_report: ReportData) -> str:
    """The page of full_report."""
    from nitrogen.pipelines.report.page import render

    return render(full_report)


def evaluation_rows() -> list[EvaluationRow]:
    teacher = EvaluationRow(
        name="Teacher",
        steps=12,
        fd_lite0=Measured(600.5, 580, 621, 2048),
        kid=Measured(0.9),
        gflops=0.5,
        gflops_full=0.5,
        ms_p50=118,
    )
    student = EvaluationRow(
        name="Student",
        steps=12,
        fd_lite0=Measured(641.2, 622, 661, 2048),
        psnr_db=Measured(27.4, 27, 28, 64),
        gflops=0.25,
        gflops_full=0.5,
        ms_p50=61.7,
        ms_p95=74.2,
        num_timings=40,
    )
    return [teacher, student]
