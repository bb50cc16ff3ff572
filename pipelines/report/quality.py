"""The evaluation's result as table rows, claims and headline numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nitrogen.pipelines.report.data import Claim, EvaluationRow, Tile
from nitrogen.pipelines.report.data_checks import Bias, BiasRow, Reliability, ReliabilityBin
from nitrogen.pipelines.report.formatting import bracket, count, number, percent
from nitrogen.pipelines.report.measured import Measured
from nitrogen.pipelines.report.verdict import in_words

Result = Mapping[str, Any]
ROLES = ("untrained", "teacher", "student", "reference")


def rows(evaluate: Result) -> list[EvaluationRow]:
    """The quality table: evaluate's rows, or what it says of the single roles."""
    given = evaluate.get("rows") or [
        {"name": role.capitalize(), **part} for role, part in _roles(evaluate).items()
    ]
    return [
        EvaluationRow(
            name=str(row.get("name") or row.get("role") or "unnamed"),
            steps=row.get("num_inference_steps"),
            fd_lite0=measured(row, "fd_lite0"),
            kid=measured(row, "kid"),
            fid=measured(row, "fid"),
            psnr_db=measured(row, "psnr_db"),
            gflops=row.get("gflops"),
            gflops_full=row.get("gflops_full"),
            ms_p50=row.get("ms_p50"),
            ms_p95=row.get("ms_p95"),
            num_timings=row.get("num_timings"),
            note=str(row.get("note") or ""),
        )
        for row in given
    ]


def measured(row: Result, name: str) -> Measured | None:
    """row[name] with its interval, given inside it or beside it as <name>_low and <name>_high."""
    entry = row.get(name)
    if entry is None or isinstance(entry, Mapping):
        return Measured.read(entry)
    return Measured(float(entry), row.get(f"{name}_low"), row.get(f"{name}_high"), row.get("n"))


def claims(evaluate: Result, commit: str) -> list[Claim]:
    """The claims; one without a command or commit of its own gets the step's, one without an
    interval says so. Savings are said in words."""
    return [
        Claim(
            **{"text": str(row["text"]), **in_words(row)},
            value=row.get("value"),
            unit=str(row.get("unit") or ""),
            low=row.get("low"),
            high=row.get("high"),
            n=row.get("n"),
            command=str(row.get("command") or evaluate.get("command") or ""),
            commit=str(row.get("commit") or evaluate.get("commit") or commit),
            split=str(row.get("split") or "not named"),
            no_interval="" if row.get("low") is not None else _why_none(row),
        )
        for row in evaluate.get("claims") or ()
    ]


def bias(evaluate: Result) -> Bias | None:
    """The table of metrics.bias.bias_table, if evaluate made one."""
    table = evaluate.get("bias")
    if not table:
        return None
    return Bias(
        rows=[
            BiasRow(
                name=str(row["name"]),
                n=int(row["n"]),
                brightness=row["brightness"],
                saturation=row["saturation"],
                classes=Measured.read(row["classes"]),
                colours=Measured.read(row["colours"]),
                gap_class=str((row["largest_gap"] or {}).get("class", "")),
                gap=(row["largest_gap"] or {}).get("share"),
                class_shares=row.get("class_shares") or (),
                colour_shares=row.get("colour_shares") or (),
                classes_over_teacher=Measured.read(row.get("over_teacher", {}).get("classes")),
                colours_over_teacher=Measured.read(row.get("over_teacher", {}).get("colours")),
            )
            for row in table["rows"]
        ],
        accuracy=table["accuracy"],
        class_floor=table["floor"]["classes"],
        colour_floor=table["floor"]["colours"],
        n_floor=table["n_floor"],
        classes=table.get("classes") or (),
    )


def reliability(evaluate: Result) -> Reliability | None:
    """The curve of evaluation.residuals.reliability_of, if evaluate made one."""
    found = evaluate.get("calibration")
    if not found:
        return None
    return Reliability(
        bins=[ReliabilityBin(**row) for row in found["rows"]],
        log_gap=found["log_gap"],
        n=int(found["n"]),
        num_steps=int(found["num_steps"]),
    )


def _why_none(row: Result) -> str:
    return str(row.get("no_interval") or "none: a single measurement")


def tiles(evaluate: Result) -> list[Tile]:
    """Headline numbers, student beside teacher; empty when either was not evaluated."""
    roles = _roles(evaluate)
    teacher, student = roles.get("teacher"), roles.get("student")
    if not teacher or not student:
        return []
    built = [
        _quality_tile(teacher, student, roles.get("untrained", {})),
        _compute_tile(teacher, student),
        _time_tile(teacher, student),
        _psnr_tile(student),
    ]
    return [tile for tile in built if tile]


def _roles(evaluate: Result) -> dict[str, Result]:
    """The part of each role: evaluate[role], else the first row with that role."""
    found = {}
    for role in ROLES:
        part = evaluate.get(role)
        marked = [row for row in evaluate.get("rows") or () if row.get("role") == role]
        if isinstance(part, Mapping) or marked:
            found[role] = part if isinstance(part, Mapping) else marked[0]
    return found


def _quality_tile(teacher: Result, student: Result, untrained: Result) -> Tile | None:
    for key, label in (("fd_lite0", "fd_lite0"), ("kid", "KID")):
        ours, theirs, base = (measured(part, key) for part in (student, teacher, untrained))
        if ours and theirs:
            detail = f"teacher {number(theirs.value)}"
            detail += f", untrained {number(base.value)}" if base else ""
            return Tile(f"{label} of the student", number(ours.value), detail + _of(ours.n, "; "))
    return None


def _compute_tile(teacher: Result, student: Result) -> Tile | None:
    if not teacher.get("gflops") or not student.get("gflops"):
        return None
    share = percent(student["gflops"] / teacher["gflops"])
    detail = f"{number(student['gflops'])} of {number(teacher['gflops'])} GFLOPs an image"
    return Tile("Compute, student / teacher", share, detail)


def _time_tile(teacher: Result, student: Result) -> Tile | None:
    ours, theirs = measured(student, "ms_p50"), measured(teacher, "ms_p50")
    if not ours or not theirs:
        return None
    change = theirs.value / ours.value
    pace = f"{number(change)} times as fast" if change >= 1 else f"{percent(1 / change - 1)} slower"
    detail = f"p50; teacher {number(theirs.value)} ms at its own steps: {pace}"
    return Tile("Time an image, student", f"{number(ours.value)} ms", detail)


def _psnr_tile(student: Result) -> Tile | None:
    psnr = measured(student, "psnr_db")
    if not psnr:
        return None
    detail = (bracket(psnr.low, psnr.high) + _of(psnr.n, ", ")).strip(", ")
    return Tile("Same-seed PSNR to the teacher", f"{number(psnr.value)} dB", detail)


def _of(n: int | None, before: str) -> str:
    """`n = 2,048` that does not break over two lines."""
    space = "\N{NO-BREAK SPACE}"
    return f"{before}n{space}={space}{count(n)}" if n else ""
