"""Tables and numbers of the results pages, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nitrogen.pipelines.report.formatting import number

NONE = "-"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], right: int = 0) -> str:
    """A table; the last `right` columns are numbers."""
    left = len(headers) - right
    lines = [headers, ["---"] * left + ["--:"] * right, *rows]
    return "\n".join("| " + " | ".join(_cell(c) for c in line) + " |" for line in lines) + "\n"


def interval(found: Mapping[str, Any] | None, scale: float = 1.0, unit: str = "") -> str:
    """ "1.62 (1.51 to 1.73)"; a dash where there is no value."""
    if not found or found.get("value") is None:
        return NONE
    value, low, high = (
        None if found.get(key) is None else number(float(found[key]) * scale)
        for key in ("value", "low", "high")
    )
    return f"{value}{unit}" + (f" ({low} to {high})" if low is not None else "")


def percent(found: Mapping[str, Any] | None) -> str:
    """A share and its interval in %."""
    return interval(found, 100.0, " %")


def plain(value: float | None, scale: float = 1.0) -> str:
    return NONE if value is None else number(float(value) * scale)


def count(value: int | None) -> str:
    return NONE if value is None else f"{value:,}"


def facts(pairs: Mapping[str, str]) -> str:
    """A list of "name: value"."""
    return "\n".join(f"- {name}: {value}" for name, value in pairs.items()) + "\n"


def listed(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _cell(text: Any) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")
