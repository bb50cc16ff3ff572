"""Numbers as a reader wants them: three digits, thousands apart, intervals in brackets."""

from __future__ import annotations

import math

from nitrogen.pipelines.report.measured import Measured

DASH = "\N{EN DASH}"


def number(value: float | int | str | None, digits: int = 3) -> str:
    """`value` to significant digits: 1234.5 -> 1,234, 0.01234 -> 0.0123, None -> a dash."""
    if value is None:
        return DASH
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(float(f"{value:.{digits}g}"))))  # 9.996 is 10.0
    if isinstance(value, int) or size >= digits - 1:
        return f"{value:,.0f}"
    if size < -4:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{digits - 1 - size}f}"


def bracket(low: float | None, high: float | None) -> str:
    """[low, high], or nothing."""
    return "" if low is None or high is None else f"[{number(low)}, {number(high)}]"


def spaced(text: str) -> str:
    """The text behind a space, or nothing: no space is left before what follows."""
    return f" {text}" if text else ""


def count(value: int | None) -> str:
    return DASH if value is None else f"{value:,}"


def percent(share: float | None) -> str:
    """0.347 -> 35 %."""
    return DASH if share is None else f"{100 * share:.0f}\N{NO-BREAK SPACE}%"


def measured(value: Measured | None) -> str:
    """The value and its interval in one string."""
    if value is None:
        return DASH
    return f"{number(value.value)} {bracket(value.low, value.high)}".strip()
