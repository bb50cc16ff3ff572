"""The time that a rival is charged: never more than if it stepped in C++ as ours does.

DPM-Solver++(2M) and Euler take all steps of a batch in one call of C++; UniPC, whose network calls
are the same and as many, steps in Python, which costs a single picture as much again. In figures it
takes DPM-Solver++'s time where that is less: what it would need at least, written in C++ too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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


def _solver(row: Measured) -> str | None:
    return (row.setting or {}).get("solver")


def _dense(row: Measured) -> bool:
    return row.group in ("teacher", "thin") and row.ms is not None


def _alike(row: Measured) -> tuple[str, str, int]:
    return str((row.setting or {}).get("model")), row.operators, row.num_steps
