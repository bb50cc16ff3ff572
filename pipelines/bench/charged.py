"""The time that a rival is charged: never more than if it stepped in C++ as ours does.

DPM-Solver++(2M) and Euler take all steps of a batch in one call of C++; UniPC, whose network calls
are the same and as many, steps in Python, which costs a single picture as much again. In figures it
takes DPM-Solver++'s time where that is less: what it would need at least, written in C++ too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nitrogen.pipelines.bench.figures import Measured
from nitrogen.pipelines.bench.settings import SOLVER

CHARGED = "unipc"


def charged(rows: Sequence[Measured]) -> list[Measured]:
    """The same rows, UniPC's of each model at the smaller of its own time and DPM-Solver++'s, round
    by round, for as many steps by the same operators."""
    times = {_alike(row): row.ms for row in rows if _solver(row) == SOLVER and _dense(row)}
    found = []
    for row in rows:
        other = times.get(_alike(row)) if _solver(row) == CHARGED else None
        if other is not None and row.ms is not None:
            row = replace(row, ms=np.minimum(row.ms, other))
        found.append(row)
    return found


def charged_p50(rows: Sequence[Mapping[str, Any]], batch: str) -> list[float]:
    """Of rows of a file, all timed: median ms as they are charged.

    A file holds no rounds: the smaller of two medians stands for the median of what is smaller.
    """
    none = np.zeros(0)
    timed = [
        Measured(
            row["name"], row["group"], none, 0.0, none, np.array([row["ms"][batch]["p50"]]), 0.0,
            row["setting"]["num_steps"], setting=row["setting"],
            operators=row.get("operators", "rows"),
        )
        for row in rows
    ]  # fmt: skip
    return [float(row.p50(np.zeros((1, 1), int))[0]) for row in charged(timed)]


def _solver(row: Measured) -> str | None:
    return (row.setting or {}).get("solver")


def _dense(row: Measured) -> bool:
    return row.group in ("teacher", "thin") and row.ms is not None


def _alike(row: Measured) -> tuple[str, str, int]:
    return str((row.setting or {}).get("model")), row.operators, row.num_steps
