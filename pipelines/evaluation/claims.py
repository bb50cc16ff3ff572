"""The table of claims: each with its interval, n, command and, in the report, the commit."""

from __future__ import annotations

from typing import Any

import numpy as np

from nitrogen.pipelines.metrics.bootstrap import Interval, bootstrap


def claims_of(
    rows: list[dict[str, Any]], student_gflops: list[float], speedup: Interval,
) -> list[dict[str, Any]]:  # fmt: skip
    """What this run shows about the student against the teacher, good or bad."""
    teacher, student, untrained, reference = rows[:4]
    ratio = bootstrap(1 - np.asarray(student_gflops) / teacher["gflops"])
    claims = [
        claim("Compute saved against the teacher at its own steps", ratio, 100.0, "%"),
        claim(
            "Latency saved against the teacher at its own steps, batch 1",
            Interval(1 - 1 / speedup.value, 1 - 1 / speedup.low, 1 - 1 / speedup.high, speedup.n),
            100.0,
            "%",
        ),
        {
            "text": "Same-seed PSNR of the student to the teacher",
            "unit": "dB",
            **student["psnr_db"],
        },
        {
            "text": "Compute saved against DDIM with 50 steps, the article's reference",
            "value": 100 * (1 - student["gflops"] / reference["gflops"]),
            "unit": "%",
            "n": student["n"],
        },
    ]
    for metric in ("fd_lite0", "kid"):
        if student.get(metric) and untrained.get(metric) and untrained[metric]["value"] > 0:
            claims.append(
                {
                    "text": f"{metric} of the student, as a share of the untrained model's",
                    "value": 100 * student[metric]["value"] / untrained[metric]["value"],
                    "unit": "%",
                    "n": student["n"],
                }
            )
        if student.get(metric) and teacher.get(metric) and teacher[metric]["value"] > 0:
            claims.append(
                {
                    "text": f"{metric} of the student over the teacher's",
                    "value": student[metric]["value"] / teacher[metric]["value"],
                    "unit": "x",
                    "n": student["n"],
                }
            )
    return claims


def claim(text: str, interval: Interval, scale: float, unit: str) -> dict[str, Any]:
    return {
        "text": text,
        "value": scale * interval.value,
        "low": scale * interval.low,
        "high": scale * interval.high,
        "n": interval.n,
        "unit": unit,
    }
