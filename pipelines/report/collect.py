"""From the results of the steps to ReportData.

Every key is optional; a section without its keys is left out and listed as missing. A measured
number may be plain or {"value", "low", "high", "n"}. Files are named relative to the step's
directory.

prepare   name, digest, image_size [h, w], num_classes, classes [names], splits {name: n}, notes,
          num_broken or broken
pretrain  history [{images, loss, step?, loss_*?}], parameters, num_images, preset, seconds
distill   history [{images, loss, loss_*?}]: every key that starts with "loss" is a curve
sweep     metric (what distance means), split, points [{gflops, distance, label?, low?, high?}],
          pareto [indices into points], full_curve [{num_inference_steps, gflops, distance}],
          static_curve [{label, gflops, distance}], chosen {gflops, distance, label?}, num_trials.
          Without points, trials [{metrics {gflops, distance}, state}] are the points (those whose
          state is COMPLETE), and pareto indexes trials.
evaluate  rows [{name, role?, num_inference_steps?, fd_lite0?, kid?, fid?, psnr_db?, gflops?,
          gflops_full?, ms_p50?, ms_p95?, num_timings?, note?}], role one of teacher, student,
          untrained, reference; claims [{text, value, unit?, low?, high?, n?, command?, commit?}];
          neighbours {n, median_feature_distance, median_pixel_rmse, closer_than_held_out,
          num_held_out}; samples_file (a .npz written by samples_file.save_samples); commit,
          command: what a claim without its own is given
promote   name, version, promoted (bool), alias, reason, gates [{metric or name, passed, detail or
          reason, value?, op?, bound?}]
serve     url, ms_p50, version: shown as facts
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nitrogen.pipelines.report.data import (
    Claim,
    Curve,
    CurvePanel,
    EvaluationRow,
    GateRow,
    Measured,
    NeighbourRows,
    Pareto,
    ParetoPoint,
    Samples,
    Tile,
)
from nitrogen.pipelines.report.numbers import bracket, count, number, percent
from nitrogen.pipelines.report.samples_file import load_samples

Result = Mapping[str, Any]
_STEP_SECTIONS = {
    "pretrain": "training curve of the teacher",
    "distill": "training curve of the student",
    "sweep": "Pareto front",
    "evaluate": "samples, quality, timings, claims",
    "promote": "gates",
}
_LOSS_NAMES = {"loss": "loss", "loss_full": "full width", "loss_gate": "gate"}


def panels(inputs: Mapping[str, Result]) -> list[CurvePanel]:
    """The loss curves of the two training steps."""
    titles = {"pretrain": "Teacher (pretrain)", "distill": "Student (distill)"}
    found = [
        CurvePanel(title, _curves(inputs.get(step, {}).get("history") or ()))
        for step, title in titles.items()
    ]
    return [panel for panel in found if panel.curves]


def _curves(history: Sequence[Result]) -> list[Curve]:
    names = {name: None for row in history for name in row if name.startswith("loss")}
    curves = []
    for name in names:
        rows = [row for row in history if row.get(name) is not None]
        x = [float(row.get("images", row.get("step", i))) for i, row in enumerate(rows)]
        label = _LOSS_NAMES.get(name, name.removeprefix("loss_").replace("_", " "))
        curves.append(Curve(label, x, [float(row[name]) for row in rows]))
    return [curve for curve in curves if len(curve.images) > 1]


def pareto(sweep: Result) -> Pareto | None:
    """The sweep's points, or None when it has none."""
    points = [_point(row) for row in sweep.get("points") or ()]
    front = [int(index) for index in sweep.get("pareto") or ()]
    trials = sweep.get("trials") or ()
    if not points and trials:
        done = [i for i, trial in enumerate(trials) if _complete(trial)]
        points = [_point(trials[i]["metrics"]) for i in done]
        front = [done.index(index) for index in front if index in done]
    if not points:
        return None
    return Pareto(
        metric=str(sweep.get("metric", "distance")),
        points=points,
        front=[index for index in front if 0 <= index < len(points)],
        full_curve=[_point(row) for row in sweep.get("full_curve") or ()],
        static_curve=[_point(row) for row in sweep.get("static_curve") or ()],
        chosen=_point(sweep["chosen"]) if _has_place(sweep.get("chosen")) else None,
        split=str(sweep.get("split", "")),
        num_trials=sweep.get("num_trials") or (len(trials) or None),
    )


def _complete(trial: Result) -> bool:
    state = str(trial.get("state", "COMPLETE")).upper()
    return state in ("COMPLETE", "COMPLETED", "TERMINATED") and _has_place(trial.get("metrics"))


def _has_place(row: Any) -> bool:
    return isinstance(row, Mapping) and None not in (row.get("gflops"), row.get("distance"))


def _point(row: Result) -> ParetoPoint:
    steps = row.get("num_inference_steps")
    label = row.get("label") or ("" if steps is None else str(steps))
    return ParetoPoint(
        float(row["gflops"]), float(row["distance"]), str(label), row.get("low"), row.get("high")
    )


def rows(evaluate: Result) -> list[EvaluationRow]:
    """The quality table."""
    return [
        EvaluationRow(
            name=str(row.get("name", row.get("role", "unnamed"))),
            steps=row.get("num_inference_steps"),
            **{key: Measured.read(row.get(key)) for key in ("fd_lite0", "kid", "fid", "psnr_db")},
            **{key: row.get(key) for key in ("gflops", "gflops_full", "ms_p50", "ms_p95")},
            num_timings=row.get("num_timings"),
            note=str(row.get("note", "")),
        )
        for row in evaluate.get("rows") or ()
    ]


def claims(evaluate: Result, commit: str) -> list[Claim]:
    """The claims; those without commit or command of their own get the step's."""
    keys = ("value", "unit", "low", "high", "n")
    return [
        Claim(
            text=str(row["text"]),
            **{key: row[key] for key in keys if row.get(key) is not None},
            command=str(row.get("command") or evaluate.get("command") or ""),
            commit=str(row.get("commit") or evaluate.get("commit") or commit),
        )
        for row in evaluate.get("claims") or ()
    ]


def tiles(evaluate: Result) -> list[Tile]:
    """Headline numbers from the rows whose role is teacher and student; none without both."""
    by_role = {row.get("role"): row for row in reversed(evaluate.get("rows") or ())}
    teacher, student = by_role.get("teacher"), by_role.get("student")
    if not teacher or not student:
        return []
    found = [_quality_tile(teacher, student, by_role.get("untrained"))]
    if teacher.get("gflops") and student.get("gflops"):
        detail = f"{number(student['gflops'])} of {number(teacher['gflops'])} GFLOPs an image"
        found.append(
            Tile(
                "Compute, student / teacher", percent(student["gflops"] / teacher["gflops"]), detail
            )
        )
    if teacher.get("ms_p50") and student.get("ms_p50"):
        detail = f"p50; teacher {number(teacher['ms_p50'])} ms"
        found.append(Tile("Time an image, student", f"{number(student['ms_p50'])} ms", detail))
    psnr = Measured.read(student.get("psnr_db"))
    if psnr:
        detail = f"{bracket(psnr.low, psnr.high)} n = {count(psnr.n)}".strip()
        found.append(Tile("Same-seed PSNR to the teacher", f"{number(psnr.value)} dB", detail))
    return [tile for tile in found if tile]


def _quality_tile(teacher: Result, student: Result, untrained: Result | None) -> Tile | None:
    for key, label in (("fd_lite0", "fd_lite0"), ("kid", "KID")):
        ours, theirs = Measured.read(student.get(key)), Measured.read(teacher.get(key))
        if ours and theirs:
            detail = f"teacher {number(theirs.value)}"
            base = Measured.read((untrained or {}).get(key))
            detail += f", untrained {number(base.value)}" if base else ""
            detail += f"; n = {count(ours.n)}" if ours.n else ""
            return Tile(f"{label} of the student", number(ours.value), detail)
    return None


def gates(promote: Result) -> list[GateRow]:
    """The gates and their verdicts."""
    return [
        GateRow(
            name=str(row.get("name") or row.get("metric") or "gate"),
            passed=bool(row.get("passed")),
            detail=str(row.get("detail") or row.get("reason") or _comparison(row)),
        )
        for row in promote.get("gates") or ()
    ]


def _comparison(row: Result) -> str:
    if row.get("value") is None:
        return ""
    return f"{number(row['value'])} {row.get('op', '')} {number(row.get('bound'))}"


def promotion(promote: Result) -> str:
    """One sentence on what the promote step did."""
    if not promote:
        return ""
    model = f"{promote.get('name', 'model')} version {promote.get('version', 'unknown')}"
    if promote.get("promoted", bool(promote.get("version"))):
        return f"{model} was promoted to {promote.get('alias', 'champion')}."
    reason = promote.get("reason")
    return f"{model} was not promoted" + (f": {reason}" if reason else ".")


def samples(
    evaluate: Result, directory: Path | None
) -> tuple[Samples | None, NeighbourRows | None]:
    """Pictures and neighbours from evaluate's samples_file; DataError when it is damaged."""
    name = evaluate.get("samples_file")
    if not name or directory is None:
        return None, None
    found, neighbours = load_samples(Path(directory) / name)
    if neighbours is None:
        return found, None
    summary = evaluate.get("neighbours") or {}
    return found, NeighbourRows(
        neighbours.samples, neighbours.by_features, neighbours.by_pixels, summary
    )


def missing(inputs: Mapping[str, Result]) -> dict[str, str]:
    """Sections that cannot be shown because their step left no result: section -> reason."""
    return {
        section: f"step {step} did not run"
        for step, section in _STEP_SECTIONS.items()
        if not inputs.get(step)
    }


def data_facts(prepare: Result) -> dict[str, str]:
    """The data set in the header's words."""
    if not prepare:
        return {}
    size = prepare.get("image_size") or ()
    parts = [
        str(prepare.get("name") or "data set"),
        " x ".join(str(side) for side in size) + " px" if size else "",
        f"{prepare['num_classes']} classes" if prepare.get("num_classes") else "",
    ]
    splits = prepare.get("splits") or {}
    facts = {"Data": ", ".join(part for part in parts if part)}
    if splits:
        facts["Splits"] = ", ".join(f"{name} {n:,}" for name, n in splits.items())
    if prepare.get("digest"):
        facts["Data digest"] = str(prepare["digest"])[:12]
    return facts
