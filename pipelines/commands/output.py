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
    print(json.dumps(jsonable(value), indent=2, allow_nan=False), flush=True)


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
