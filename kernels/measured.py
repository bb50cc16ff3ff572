"""The measured column of the predictions: lines of `bench kernels --device cuda` by operator.

The lines of one card are read, never mixed with another's. What has no line stays empty, and what
was wrong has no time.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nitrogen.kernels.counts import Shape
from nitrogen.kernels.roofline import table

BIG = 1e18  # above any rate per second; what is NaN is not below it
OURS, OTHERS = "triton", ("dense", "eager", "compile")
BEGIN, END = "<!-- predictions:", "<!-- /predictions -->"
DTYPES = {2: "bfloat16", 4: "float32"}  # by the bytes of a stored number
KEYS: dict[str, type | tuple[type, ...]] = {
    "op": str, "provider": str, "shape": list, "metric": str, "unit": str, "p50": (int, float),
}  # fmt: skip
TIME, WRONG = ("time", "ms"), ("relative_rms", "1")  # metric and unit of what has a shape


class MeasuredError(ValueError):
    """Why lines are not those of a card, or a document has no place for them; one sentence."""


@dataclass(frozen=True)
class Measured:
    """card: as its driver names it; about: commit, date and count; cells: shape -> text."""

    card: str
    about: str
    cells: Mapping[Shape, str]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a file, those of a GPU with all that is read of them. Raises
    MeasuredError."""
    try:
        found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    except (OSError, ValueError, RecursionError) as error:
        raise MeasuredError(
            f"--measured must be the JSON lines of `bench kernels`, got {path} "
            f"({type(error).__name__}). Name another file."
        ) from None
    if not all(isinstance(line, dict) for line in found):
        raise MeasuredError(f"--measured must hold one object a line, got {path}. Name another.")
    for number, line in enumerate(found, start=1):
        if line.get("kind") == "measured" and (wrong := unreadable(line)):
            raise MeasuredError(
                f"--measured must hold whole lines of `bench kernels --device cuda --json`, got "
                f"{wrong} in object {number} of {path}. Make the file anew."
            )
    return found


def unreadable(line: Mapping[str, Any]) -> str | None:
    """What of a measured line cannot be used, if anything: a key, or a metric in another unit."""
    for key, kind in KEYS.items():
        if not isinstance(line.get(key), kind) or isinstance(line.get(key), bool):
            return f"{key} = {line.get(key)!r}"
    if not 0 <= line["p50"] < BIG or (line.get("hardware") and not named(line["hardware"])):
        return f"p50 or hardware = {str(line['p50'])[:20]}, {str(line.get('hardware'))[:40]!r}"
    metric, unit = line["metric"], line["unit"]
    if line["shape"] and (metric, unit) != (WRONG if line.get("failed") else TIME):
        return f"{metric} in {unit}"
    return None


def named(hardware: Any) -> bool:
    """Whether a card's name fits into a line of a document."""
    return isinstance(hardware, str) and hardware.isprintable() and not set(hardware) & set("|<>")


def measured(
    lines: Iterable[Mapping[str, Any]], shapes: Iterable[Shape], size: int = 2
) -> Measured:
    """The column of one card in one precision, microseconds at the median: ours, and in brackets
    the others. size: bytes of a stored number. Raises MeasuredError."""
    own = [one for one in lines if one.get("kind") == "measured" and one.get("hardware")]
    cards = sorted({one["hardware"] for one in own})
    if len(cards) != 1 or "interpreter" in cards[0]:
        raise MeasuredError(
            "--measured must hold the lines of one GPU, got those of "
            f"{', '.join(cards) or 'none'}. Make them by `bench kernels --device cuda --json`."
        )
    timed = [one for one in own if one.get("dtype") == DTYPES[size] and one["shape"]]
    cells = {shape: cell([one for one in timed if is_of(one, shape)]) for shape in shapes}
    facts = [one for one in timed if "n" in one] or [{}]
    commit, date = facts[-1].get("commit", "?"), str(facts[-1].get("date", "?"))[:10]
    about = f"{cards[0]}, {DTYPES[size]}, n = {facts[-1].get('n', '?')}, {commit}, {date}"
    return Measured(cards[0], about, {shape: text for shape, text in cells.items() if text})


def is_of(line: Mapping[str, Any], shape: Shape) -> bool:
    size = [shape.b, shape.side, shape.side, shape.channels]
    found = (line["op"], line["shape"], line.get("rows"), line.get("width"))
    return found == (shape.op, size, shape.active, shape.width)


def cell(lines: Iterable[Mapping[str, Any]]) -> str:
    """`5.1 (dense 9.0, compile 7.2)`; a later line of the same provider replaces an earlier one."""
    by_provider = {one["provider"]: one for one in lines}
    ours = by_provider.get(OURS)
    if ours is None:
        return ""
    if ours.get("failed"):
        return f"wrong, relative RMS {ours['p50']:.2g}"
    others = [f"{name} {us(by_provider[name])}" for name in OTHERS if name in by_provider]
    return us(ours) + (f" ({', '.join(others)})" if others else "")


def us(line: Mapping[str, Any]) -> str:
    return f"{line['p50'] * 1e3:.1f}"  # lines are in milliseconds


def filled(shapes: Iterable[Shape], found: Measured, size: int = 2) -> str:
    """The table of the predictions with its last column filled, and where that is from."""
    made = table(size, shapes, found.cells)
    return f"{made}\n\nMeasured on {found.about}; median of ours, others in brackets."


def write(path: Path, text: str) -> None:
    """Puts `text` between the markers of a document. Raises MeasuredError where there are none."""
    whole = path.read_text(encoding="utf-8")
    head, begin, rest = whole.partition(BEGIN)
    marker, newline, body = rest.partition("\n")
    _, end, tail = body.partition(END)
    if not (begin and newline and end):
        raise MeasuredError(
            f"--write must name a document with {BEGIN} ... --> and {END}, got {path}. "
            "Take kernels/README.md."
        )
    # Whole or not at all: a full disk would leave half of a document.
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_text(f"{head}{begin}{marker}\n{text}\n{end}{tail}", encoding="utf-8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
