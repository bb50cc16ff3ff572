"""How commands print: JSON for programs, aligned columns for people; always on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

from nitrogen.pipelines.atomic_json import jsonable

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def say(text: str = "") -> None:
    print(text, flush=True)


def note(text: str) -> None:
    """A remark beside the result, on stderr."""
    print(text, file=sys.stderr, flush=True)


def say_json(value: Any) -> None:
    print(spread(jsonable(value)), flush=True)


def spread(value: Any, indent: int = 0) -> str:
    """JSON with an item a line, except that numbers stay together: a list or a table of them is one
    line, so that a map a step is a line a step."""
    inner, brackets = " " * (indent + 2), "[]"
    if isinstance(value, dict):
        brackets = "{}"
        items = [f"{json.dumps(key)}: {spread(item, indent + 2)}" for key, item in value.items()]
    elif isinstance(value, list) and not _table(value):
        items = [spread(item, indent + 2) for item in value]
    else:
        return json.dumps(value, allow_nan=False)
    if not items:
        return brackets
    lines = ",\n".join(inner + item for item in items)
    return f"{brackets[0]}\n{lines}\n{' ' * indent}{brackets[1]}"


def _table(value: list[Any]) -> bool:
    """Whether a list is of numbers, or of lists of them."""
    rows = value if all(isinstance(row, list) for row in value) else [value]
    return all(isinstance(cell, int | float) for row in rows for cell in row)


def say_table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Columns wide enough for their text; numbers to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    kinds = [list(column) for column in zip(*rows, strict=True)] if cells else []
    right = [all(isinstance(v, int | float | None) for v in column) for column in kinds]
    right = right or [False] * len(headers)
    widths = [max(len(text) for text in column) for column in zip(headers, *cells, strict=True)]
    for line in [list(headers), *cells]:
        padded = [
            text.rjust(width) if numeric else text.ljust(width)
            for text, width, numeric in zip(line, widths, right, strict=True)
        ]
        say("  ".join(padded).rstrip())


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
