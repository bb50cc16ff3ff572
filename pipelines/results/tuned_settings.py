"""What the searches on validation chose: ours and the static schedule, for each ceiling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nitrogen.pipelines.results.markdown import plain, table


def tuned_settings(content: Mapping[str, Any]) -> str:
    """The tiers' settings, and the ceiling that they were given."""
    tuned = [r for r in content["rows"] if r["setting"].get("tier") and _by_torch_or_ours(r)]
    if not tuned:
        return ""
    rows = [
        (r["name"], str(r["setting"]["num_steps"]), plain(r["setting"].get("budget")),
         plain(r["setting"].get("threshold")), _planner(r["setting"]),
         " ".join(str(q) for q in r["setting"].get("widths", [])) or "-")
        for r in tuned
    ]  # fmt: skip
    headers = (
        "row",
        "steps",
        "budget",
        "exit threshold",
        "shares of the budget",
        "quarters by step",
    )
    return f"## What was tuned\n\n{_ceilings(content)}\n\n{table(headers, rows)}"


def _by_torch_or_ours(row: Mapping[str, Any]) -> bool:
    """Not its twin by other operators, which has the same setting."""
    return row["group"] == "ours" or row["kind"] == "schedule"


def _planner(setting: Mapping[str, Any]) -> str:
    if "widths" in setting:
        return "-"
    if setting.get("served"):
        return "by the student's own prices"
    price = setting.get("price")
    return "equal for every step" if price is None else f"by one price, {price:.2g}"


def _ceilings(content: Mapping[str, Any]) -> str:
    overhead = content.get("step_overhead_gflops")
    if overhead is None:
        return "On validation, under ceilings in FLOPs: 3, 5 and 8 forwards of the full model."
    return (
        "On validation, under ceilings in time: 3, 5 and 8 forwards of the full model, where a "
        f"step costs what {1e3 * overhead:.0f} MFLOPs would beside its arithmetic (measured here)."
    )
