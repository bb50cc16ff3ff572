"""What the searches on validation chose: ours and the static schedules, for each tier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from nitrogen.model.schedules import KARRAS
from nitrogen.pipelines.bench.row_names import SOLVERS
from nitrogen.pipelines.bench.settings import SOLVER
from nitrogen.pipelines.bench.summary import FULL_GROUPS
from nitrogen.pipelines.bench.twins import BY_ROWS
from nitrogen.pipelines.results.markdown import listed, plain, table


def tuned_settings(content: Mapping[str, Any]) -> str:
    """The settings of the tiers, what they were chosen within, and the noise levels of all rows."""
    parts = [part for part in (_tiers(content), noise_levels(content)) if part]
    return "\n".join(["## What was tuned\n", *parts]) if parts else ""


def _tiers(content: Mapping[str, Any]) -> str:
    tuned = [
        r for r in content["rows"]
        if (r["setting"].get("tier") or r["setting"].get("saving")) and _by_torch_or_ours(r)
    ]  # fmt: skip
    if not tuned:
        return ""
    rows = [
        (r["name"], str(r["setting"]["num_steps"]), plain(r["setting"].get("budget")),
         plain(r["setting"].get("threshold")), _planner(r["setting"]),
         " ".join(str(q) for q in r["setting"].get("widths", [])) or "-",
         _over_ceiling(r, content))
        for r in tuned
    ]  # fmt: skip
    headers = (
        "row", "steps", "budget", "exit threshold", "shares of the budget", "quarters by step",
        "time over its ceiling's, by batch",
    )  # fmt: skip
    return f"{_ceilings(content)}\n\n{table(headers, rows)}"


def _over_ceiling(row: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    """Its time, by the operators of the adaptive path, over its ceiling's: that of the teacher's
    line through as many forwards; '-' where the teacher has not two numbers of steps."""
    rows, forwards = content["rows"], _forwards(content).get(row["setting"].get("tier", ""))
    if forwards is None:
        return "-"
    mine = next((r for r in rows if r["name"] == row["name"] + BY_ROWS), row)
    teacher = [
        r for r in rows if r["group"] == "teacher" and r.get("guidance", 1) == 1
        and r["setting"]["solver"] == SOLVER and r["name"].endswith(BY_ROWS)
    ]  # fmt: skip
    found = []
    for batch, taken in (mine.get("ms") or {}).items():
        points = [
            (r["setting"]["num_steps"], r["ms"][batch]["p50"]) for r in teacher if r["ms"][batch]
        ]
        if taken and len(points) > 1:
            steps, ms = np.array(points).T
            line = np.polyfit(steps, ms, 1)
            found.append(f"{taken['p50'] / np.polyval(line, forwards):.2f} ({batch})")
    return ", ".join(found) or "-"


def noise_levels(content: Mapping[str, Any]) -> str:
    """sigma_min and rho by solver and number of steps, where any were chosen on validation."""
    rows = [row for row in content["rows"] if row["group"] in FULL_GROUPS]
    if not any("spacing" in row["setting"] for row in content["rows"]):
        return ""
    chosen: dict[tuple[str, int], list[str]] = {}
    for setting in (row["setting"] for row in rows):
        levels = setting.get("spacing", (KARRAS.sigma_min, KARRAS.rho))
        shown = levels_shown(levels)
        some = chosen.setdefault((setting["solver"], setting["num_steps"]), [])
        some += [shown] if shown not in some else []
    text = (
        "Noise levels chosen on validation for the full model, thin models and caches (EDM's are "
        f"{KARRAS.sigma_min:g} and {KARRAS.rho:g}); a strided student has those that it was "
        "trained on."
    )
    shown_rows = [
        (SOLVERS.get(solver, solver), str(steps), "; ".join(some))
        for (solver, steps), some in sorted(chosen.items())
    ]
    return f"{text}\n\n{table(('solver', 'steps', 'sigma_min and rho'), shown_rows)}"


def levels_shown(levels: Sequence[float]) -> str:
    """sigma_min and rho; behind them the strides, where there are any."""
    shown = " and ".join(f"{value:g}" for value in levels[:2])
    if len(levels) == 2:
        return shown
    strides, knee = levels[3:]
    return f"{shown}, after {strides:g} stride{'s' * (strides > 1)} to {knee:g}"


def _by_torch_or_ours(row: Mapping[str, Any]) -> bool:
    """Not its twin by other operators, which has the same setting; a relay has none."""
    return row["group"] == "ours" or row["kind"] == "schedule" or bool(row["setting"].get("relay"))


def _planner(setting: Mapping[str, Any]) -> str:
    if "widths" in setting:
        return "-"
    if setting.get("served"):
        return "by the student's own prices"
    price = setting.get("price")
    return "equal for every step" if price is None else f"by one price, {price:.2g}"


def _forwards(content: Mapping[str, Any]) -> dict[str, float]:
    """Of each tier's ceiling; none in older files, which do not tell them."""
    return dict(content.get("tiers") or {})


def _ceilings(content: Mapping[str, Any]) -> str:
    overhead, tiers = content.get("step_overhead_gflops"), _forwards(content)
    if overhead is None or not tiers:
        return "On validation, under ceilings that the file does not tell."
    least, most = content.get("tiers_from"), list(tiers.values())
    if least is None:  # an older file: the least error under each ceiling
        told = f"under ceilings in time: {listed([f'{one:g}' for one in most])}"
    else:
        bands = listed([f"{low:g} to {high:g}" for low, high in pairwise([least, *most])])
        told = f"what saves most within tiers of time: {bands}"
    return (
        f"On validation, {told} forwards of the full model, where a "
        f"step costs what {1e3 * overhead:.0f} MFLOPs would beside its arithmetic (measured here)."
    )
