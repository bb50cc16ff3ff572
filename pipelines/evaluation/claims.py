"""The table of claims: each with n, interval (or why it has none), split, command and commit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nitrogen.pipelines.metrics.bootstrap import (
    Estimate,
    Interval,
    bootstrap,
    paired_difference,
    paired_ratio,
)

METRICS = ("fd_lite0", "fid", "kid")
SPLIT_OF = {"fd_lite0": "train", "fid": "train", "kid": "test"}  # the pictures compared with
NO_DIFFERENCE = (
    "none: the other's own interval holds 0, so a share has no meaning; see the difference"
)

Estimates = Mapping[str, Mapping[str, Estimate]]  # role -> metric -> estimate


def claims_of(
    rows: list[dict[str, Any]],
    estimates: Estimates,
    student_gflops: list[float],
    speedup: Interval,
    *,
    split_sizes: Mapping[str, int],
    where: str,
) -> list[dict[str, Any]]:
    """What this run shows about the student against the teacher, good or bad.

    rows: those of `measure`, teacher, student, untrained and reference first. where: the machine,
    device and precision of the times. Each claim: {text, value, unit, low, high, n, split}, or
    `no_interval` (why) in place of low and high.
    """
    teacher, student, _untrained, reference = rows[:4]
    drawn = "seeds of the evaluation, classes as in test"
    gflops = np.asarray(student_gflops)
    claims = [
        claim(
            "Compute saved against the teacher at its own steps",
            bootstrap(100 * (1 - gflops / teacher["gflops"])), "%", drawn,
        ),
        claim(
            "Compute saved against DDIM with 50 steps, the article's reference",
            bootstrap(100 * (1 - gflops / reference["gflops"])), "%", drawn,
        ),
        claim(
            "Latency saved against the teacher at its own steps, batch 1",
            Interval(
                saved(speedup.value), saved(speedup.low), saved(speedup.high), speedup.n
            ),
            "%", f"one picture again and again, on {where}",
        ),
        {
            "text": "Same-seed PSNR of the student to the teacher", "unit": "dB",
            **student["psnr_db"], "split": drawn,
        },
    ]  # fmt: skip
    for metric in METRICS:
        if metric in estimates["student"]:
            against = SPLIT_OF[metric]
            split = f"{drawn}; against {against}, n = {split_sizes[against]:,}"
            claims += _distance_claims(metric, estimates, split)
    return claims


def _distance_claims(metric: str, estimates: Estimates, split: str) -> list[dict[str, Any]]:
    """The student's distance beside the untrained model's and the teacher's."""
    student = estimates["student"][metric]
    claims = []
    for role, text, scale, unit in (
        ("untrained", f"{metric} of the student, as a share of the untrained model's", 100.0, "%"),
        ("teacher", f"{metric} of the student over the teacher's", 1.0, "x"),
    ):
        other = estimates[role].get(metric)
        if other is None:
            continue
        if other.excludes_zero:
            claims.append(claim(text, scaled(paired_ratio(student, other), scale), unit, split))
            continue
        claims.append(
            {
                "text": text, "value": None, "unit": unit, "n": student.n, "split": split,
                "no_interval": NO_DIFFERENCE,
            }
        )  # fmt: skip
        text = f"{metric} of the student minus that of the {role}"
        claims.append(claim(text, paired_difference(student, other), "", split))
    return claims


def claim(text: str, interval: Interval, unit: str, split: str) -> dict[str, Any]:
    return {
        "text": text,
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "n": interval.n,
        "unit": unit,
        "split": split,
    }


def saved(speedup: float) -> float:
    """Per cent of the time."""
    return 100 * (1 - 1 / speedup)


def scaled(interval: Interval, factor: float) -> Interval:
    return Interval(
        factor * interval.value, factor * interval.low, factor * interval.high, interval.n
    )
