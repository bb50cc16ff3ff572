"""The summary of a benchmark: one set of figures for each batch size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nitrogen.pipelines.bench.controls import CONTROLS
from nitrogen.pipelines.bench.figures import (
    ERRORS,
    Field,
    Measured,
    Resamples,
    adaptivity_gain,
    conversion,
    error_ratio,
    latency_saved,
    predictor_share,
)
from nitrogen.pipelines.bench.settings import SOLVER

FULL_GROUPS, STATIC_GROUPS = ("teacher", "thin", "cache"), ("static",)


def summarise(rows: Sequence[Measured], resamples: Resamples) -> dict[str, Any]:
    """All figures of one data set and batch size.

    rows: unguided, over the same seeds and rounds. `tiers` are the settings of ours that were
    tuned on validation; `all` holds every other row of ours too. Figures are against everything,
    whichever operators it runs on; those named `_over_torch` are against PyTorch's own alone, and
    owe a part to our kernels.
    """
    ours = [row for row in rows if row.group == "ours" and row.ms is not None]
    full = Field([row for row in rows if row.group in FULL_GROUPS], resamples)
    fields = {"speedup_at_equal_quality": full} | {
        name: Field([row for row in rows if row.group in groups and row.operators in by], resamples)
        for name, groups, by in (
            ("speedup_over_static", STATIC_GROUPS, ("torch", "rows")),
            ("speedup_at_equal_quality_over_torch", FULL_GROUPS, ("torch",)),
            ("speedup_over_static_over_torch", STATIC_GROUPS, ("torch",)),
        )
    }
    found = {
        name: {row.name: speedups(field, row) for row in ours} for name, field in fields.items()
    }
    tiers = {row.setting["tier"]: row.name for row in ours if (row.setting or {}).get("tier")}
    return {
        "tiers": tiers,
        **{name: {t: by_row[row] for t, row in tiers.items()} for name, by_row in found.items()},
        "all": {
            row.name: {name: by_row[row.name] for name, by_row in found.items()} for row in ours
        },
        "adaptivity_gain": {row.name: gains(row, rows, resamples) for row in with_controls(rows)},
        "latency": latencies(ours, rows, resamples),
        "predictor_share": predictor_shares(rows, resamples),
        "student_full": {
            row.name: speedups(full, row)
            for row in rows
            if row.group in STATIC_GROUPS and row.ms is not None and is_full(row)
        },
        "full_width": full_width(rows, resamples),
        "full_width_alone": full_width([r for r in rows if not r.setting.get("relay")], resamples),
    }


def speedups(field: Field, row: Measured) -> dict[str, Any]:
    if not field.rows:
        return {which: {"value": None, "reason": "no rows to compare with"} for which in ERRORS}
    return {which: field.speedup(row, which) for which in ERRORS}


def with_controls(rows: Sequence[Measured]) -> list[Measured]:
    """The rows of ours that controls were made for, the oracle among them."""
    named = {
        row.setting["of"]
        for row in rows
        if row.group == "control" and row.setting["how"] == "oracle"
    }
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

    The teacher by whichever operators are faster; saved_over_torch: by PyTorch's own.
    """
    teachers = fastest(
        [row for row in rows if row.group == "teacher" and row.setting["solver"] == SOLVER]
    )
    plain = {row.num_steps: row for row in rows if row.group == "teacher" and plain_teacher(row)}
    found = {}
    for row in ours:
        if row.num_steps in teachers:
            teacher = teachers[row.num_steps]
            found[row.name] = {
                "saved": latency_saved(row, teacher, resamples),
                "conversion": conversion(row, teacher, resamples),
            }
            if row.num_steps in plain:
                over = latency_saved(row, plain[row.num_steps], resamples)
                found[row.name]["saved_over_torch"] = over
    return {"rows": found}


def fastest(rows: Sequence[Measured]) -> dict[int, Measured]:
    """By num_steps, the timed row of least median."""
    found: dict[int, Measured] = {}
    for row in rows:
        if row.ms is None:
            continue
        other = found.get(row.num_steps)
        if other is None or other.ms is None or np.median(row.ms) < np.median(other.ms):
            found[row.num_steps] = row
    return found


def plain_teacher(row: Measured) -> bool:
    """Timed, by SOLVER and PyTorch's own operators."""
    return row.setting["solver"] == SOLVER and row.operators == "torch" and row.ms is not None


def predictor_shares(rows: Sequence[Measured], resamples: Resamples) -> dict[str, Any]:
    """By num_steps: the predictor computed and ignored, over the same rows without it."""
    full = {
        r.num_steps: r
        for r in rows
        if r.group in STATIC_GROUPS
        and r.operators == "rows"
        and r.ms is not None
        and is_full(r)
        # A searched schedule may be full too, and a relay: the predictor was ignored of neither.
        and not (r.setting.get("tier") or r.setting.get("relay"))
    }
    return {
        str(r.num_steps): predictor_share(r, full[r.num_steps], resamples)
        for r in rows
        if r.group == "ignored" and r.num_steps in full
    }


def full_width(rows: Sequence[Measured], resamples: Resamples) -> dict[str, Any]:
    """By num_steps: errors of the student at full width, by its dearest relay where it has one,
    over the teacher's at as many steps. The first thing to show is that it is not inferior."""
    teachers = {
        r.num_steps: r for r in rows if r.group == "teacher" and r.setting["solver"] == SOLVER
    }
    dearest_last = sorted(rows, key=lambda row: -int(row.setting.get("relay") or 1 << 30))
    full = {r.num_steps: r for r in dearest_last if r.group in STATIC_GROUPS and is_full(r)}
    return {
        str(num_steps): {
            which: error_ratio(row, teachers[num_steps], which, resamples) for which in ERRORS
        }
        for num_steps, row in sorted(full.items())
        if num_steps in teachers
    }


def is_full(row: Measured) -> bool:
    """At full width at every step."""
    return row.setting.get("widths") == [4] * row.num_steps
