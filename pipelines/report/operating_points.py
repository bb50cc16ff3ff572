"""The sweep's result as points of distance against compute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nitrogen.pipelines.report.data import Pareto, ParetoPoint

_DONE = ("COMPLETE", "COMPLETED", "TERMINATED")


def pareto(sweep: Mapping[str, Any]) -> Pareto | None:
    """The sweep's points and curves, or None when it has no point."""
    points, front = _points(sweep)
    if not points:
        return None
    chosen = sweep.get("chosen")
    return Pareto(
        metric=str(sweep.get("metric") or "distance"),
        points=points,
        front=[index for index in front if 0 <= index < len(points)],
        full_curve=_curve(sweep, "full_curve"),
        static_curve=_curve(sweep, "static_curve"),
        chosen=_point(chosen) if _has_place(chosen) else None,
        reason=str((sweep.get("choice") or {}).get("reason") or ""),
        split=str(sweep.get("split") or ""),
        num_trials=sweep.get("num_trials") or len(sweep.get("trials") or ()) or None,
    )


def _points(sweep: Mapping[str, Any]) -> tuple[list[ParetoPoint], list[int]]:
    """Points and front; places that were not measured are left out and the front renumbered."""
    rows = list(sweep.get("points") or ())
    if not rows:
        trials = sweep.get("trials") or ()
        rows = [trial.get("metrics") if _done(trial) else None for trial in trials]
    kept = [index for index, row in enumerate(rows) if _has_place(row)]
    renumbered = {old: new for new, old in enumerate(kept)}
    front = [renumbered[int(i)] for i in sweep.get("pareto") or () if int(i) in renumbered]
    return [_point(rows[index]) for index in kept], front


def _done(trial: Mapping[str, Any]) -> bool:
    return str(trial.get("state") or "COMPLETE").upper() in _DONE


def _curve(sweep: Mapping[str, Any], name: str) -> list[ParetoPoint]:
    return [_point(row) for row in sweep.get(name) or () if _has_place(row)]


def _has_place(row: Any) -> bool:
    return isinstance(row, Mapping) and None not in (row.get("gflops"), row.get("distance"))


def distance_of(row: Mapping[str, Any]) -> float:
    """The distance of a point, given as a number or as {"value", "low", "high"}."""
    distance = row["distance"]
    return float(distance["value"] if isinstance(distance, Mapping) else distance)


def _point(row: Any) -> ParetoPoint:
    """low and high are beside the distance, or in it."""
    bounds = row["distance"] if isinstance(row["distance"], Mapping) else row
    steps = row.get("num_inference_steps")
    label = row.get("label") or ("" if steps is None else str(steps))
    low, high = bounds.get("low"), bounds.get("high")
    return ParetoPoint(float(row["gflops"]), distance_of(row), str(label), low, high)
