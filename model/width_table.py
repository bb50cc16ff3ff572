"""Schedules of widths that were searched offline: one width a step, kept with the student.

What `static` runs under a budget: nothing is predicted, so that neither cost nor time depends on
the content of a picture. A table has rows for some numbers of steps, each with a few schedules;
the ceiling holds whatever the table says.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from nitrogen.model.config import MAX_STEPS, NUM_WIDTHS
from nitrogen.model.errors import WeightsError

MAX_ROWS = 64
Schedule = tuple[float, tuple[int, ...]]  # share of full compute, quarters of every step


@dataclass(frozen=True)
class WidthTable:
    """rows: number of steps -> schedules by rising share of full compute. A width is 0 to 4
    quarters, and 0 keeps the last D; the first is never 0."""

    rows: dict[int, tuple[Schedule, ...]]

    def widths(self, budget: float, num_steps: int) -> tuple[int, ...]:
        """The richest schedule under the budget, a share; the poorest where none is.

        Of the nearest number of steps that was searched, stretched or thinned evenly.
        """
        nearest = min(self.rows, key=lambda steps: abs(math.log(steps / num_steps)))
        schedules = self.rows[nearest]
        affordable = [widths for share, widths in schedules if share <= budget]
        widths = affordable[-1] if affordable else schedules[0][1]
        places = [(2 * i + 1) * nearest // (2 * num_steps) for i in range(num_steps)]
        first, *rest = (widths[place] for place in places)
        return (max(1, first), *rest)  # there is no D to keep yet

    def to_json(self) -> dict[str, list[list[Any]]]:
        return {
            str(steps): [[share, list(widths)] for share, widths in row]
            for steps, row in self.rows.items()
        }

    @classmethod
    def from_json(cls, content: Any) -> "WidthTable":
        """Raises WeightsError for anything but what `to_json` writes."""
        try:
            rows = {
                int(steps): tuple((float(share), whole(widths)) for share, widths in row)
                for steps, row in content.items()
            }
            if not well_formed(rows):
                raise ValueError("not a table of widths")
        except (AttributeError, OverflowError, TypeError, ValueError) as error:
            raise WeightsError(
                "config.json's schedules must have a width of 0 to 4 for every step, by rising "
                f"share, got another table ({error}). Restore the file, or remove `schedules`."
            ) from None
        return cls(rows)


def whole(widths: Any) -> tuple[int, ...]:
    """Raises TypeError for anything but a list of integers; a bool is none."""
    if not isinstance(widths, list) or len(widths) > MAX_STEPS:
        raise TypeError("widths of one schedule")
    if any(type(width) is not int for width in widths):
        raise TypeError("a width that is no integer")
    return tuple(widths)


def well_formed(rows: dict[int, tuple[Schedule, ...]]) -> bool:
    """Bounded; shares above 0 and rising; a width for every step, the first one computed."""
    if not 0 < len(rows) <= MAX_ROWS or min(rows) < 1 or max(rows) > MAX_STEPS:
        return False
    return all(
        0 < len(row) <= MAX_ROWS
        and all(0 < share < math.inf and len(widths) == steps for share, widths in row)
        and all(0 <= width <= NUM_WIDTHS for _, widths in row for width in widths)
        and all(widths[0] > 0 for _, widths in row)
        and all(a[0] < b[0] for a, b in pairwise(row))
        for steps, row in rows.items()
    )
