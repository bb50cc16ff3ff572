"""A number as every section of a report shows one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Measured:
    """A number with what makes it worth something; low and high are its 95 % interval."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None

    @classmethod
    def read(cls, value: Any) -> Measured | None:
        """From a number, a dict {"value", "low", "high", "n"} or None."""
        if value is None or isinstance(value, Measured):
            return value
        if isinstance(value, Mapping):
            if value.get("value") is None:
                return None
            return cls(value["value"], value.get("low"), value.get("high"), value.get("n"))
        return cls(float(value))
