"""The summary of a benchmark: one set of figures for each batch size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nitrogen.pipelines.bench.controls import CONTROLS
from nitrogen.pipelines.bench.figures import (
    ERRORS,
    Field,
    Measured,
    Resamples,
    adaptivity_gain,
    conversion,
    latency_saved,
    predictor_share,
)
from nitrogen.pipelines.bench.tuning import SOLVER

FULL_GROUPS, STATIC_GROUPS = ("teacher", "thin", "cache"), ("static",)
MAX_FD_RATIO = 1.054  # the article's 3.9 / 3.7


def summarise(rows: Sequence[Measured], resamples: Resamples) -> dict[str, Any]:
    """All figures of one data set and batch size.

    rows: unguided, over the same seeds and rounds. `tiers` are the settings of ours that were
    tuned on validation; `all` holds every other row of ours too.
    """
    ours = [row for row in rows if row.group == "ours" and row.ms is not None]
    full = Field([row for row in rows if row.group in FULL_GROUPS], resamples)
    static = Field([row for row in rows if row.group in STATIC_GROUPS], resamples)
    at_equal = {row.name: speedups(full, row) for row in ours}
    over_static = {row.name: speedups(static, row) for row in ours}
    tiers = {row.setting["tier"]: row.name for row in ours if (row.setting or {}).get("tier")}
    return {
        "tiers": tiers,
        "speedup_at_equal_quality": {t: at_equal[name] for t, name in tiers.items()},
        "speedup_over_static": {t: over_static[name] for t, name in tiers.items()},
        "all": {
            name: {"speedup_at_equal_quality": at_equal[name], "speedup_over_static": static_}
            for name, static_ in over_static.items()
        },
        "adaptivity_gain": {row.name: gains(row, rows, resamples) for row in with_controls(rows)},
        "latency": latencies(ours, rows, resamples),
        "predictor_share": predictor_shares(rows, resamples),
        "student_full": {
            row.name: speedups(full, row) for row in static.rows if is_full(row)
        },
    }  # fmt: skip


def speedups(field: Field, row: Measured) -> dict[str, Any]:
    if not field.rows:
        return {which: {"value": None, "reason": "no rows to compare with"} for which in ERRORS}
    return {which: field.speedup(row, which) for which in ERRORS}


def with_controls(rows: Sequence[Measured]) -> list[Measured]:
    """The rows of ours that controls were made for."""
    named = {row.setting["of"] for row in rows if row.group == "control"}
    return [row for row in rows if row.name in named]


def gains(ours: Measured, rows: Sequence[Measured], resamples: Resamples) -> dict[str, Any]:
    """The adaptivity gain against each control of this row."""
    mine = {
        row.setting["how"]: row
        for row in rows
        if row.group == "control" and row.setting["of"] == ours.name
    }
    return {
        how: adaptivity_gain(ours, mine[how], mine["oracle"], resamples)
        for how in CONTROLS
        if how != "oracle" and how in mine
    }


def latencies(
    ours: Sequence[Measured], rows: Sequence[Measured], resamples: Resamples
) -> dict[str, Any]:
    """Latency saved and conversion of each row of ours whose teacher at equal steps was timed.

    best: the largest saving among rows whose fd_lite0 is at most MAX_FD_RATIO times the teacher's.
    """
    teachers = {
        row.num_steps: row
        for row in rows
        if row.group == "teacher" and row.setting["solver"] == SOLVER and row.ms is not None
    }
    found = {
        row.name: {
            "saved": latency_saved(row, teachers[row.num_steps], resamples),
            "conversion": conversion(row, teachers[row.num_steps], resamples),
        }
        for row in ours
        if row.num_steps in teachers
    }
    good = {
        name: one["saved"]["value"]
        for name, one in found.items()
        if one["saved"]["fd_ratio"] is not None and one["saved"]["fd_ratio"] <= MAX_FD_RATIO
    }
    best = max(good, key=lambda name: good[name]) if good else None
    return {"rows": found, "best": best, "max_fd_ratio": MAX_FD_RATIO}


def predictor_shares(rows: Sequence[Measured], resamples: Resamples) -> dict[str, Any]:
    """By num_steps: the predictor computed and ignored, over the same rows without it."""
    ignored = {r.num_steps: r for r in rows if r.group == "ignored" and "policy" not in r.setting}
    full = {r.num_steps: r for r in rows if r.group == "ignored" and "policy" in r.setting}
    return {
        str(n): predictor_share(ignored[n], full[n], resamples) for n in ignored if n in full
    }  # fmt: skip


def is_full(row: Measured) -> bool:
    """The student at full width at every step: the first thing to show is that it is no worse."""
    return row.setting.get("widths") == [4] * row.num_steps
