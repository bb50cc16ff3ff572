"""The prices of compute that a model carries, by number of steps and budget."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from nitrogen.model.config import MAX_STEPS
from nitrogen.model.errors import WeightsError

MAX_ROWS = 64


@dataclass(frozen=True)
class PriceTable:
    """rows: number of steps -> (price, budget that the mean picture wants at it), by rising price
    and falling budget; a share of full compute. A price is a mean squared error of x_0 per FLOP of
    a region."""

    rows: dict[int, tuple[tuple[float, float], ...]]

    def price(self, budget: float, num_steps: int) -> float:
        """Log-linear between the budgets measured at the nearest number of steps; at the ends, the
        lowest or the highest price."""
        nearest = min(self.rows, key=lambda steps: abs(math.log(steps / num_steps)))
        row = self.rows[nearest]
        for (low, more), (high, less) in pairwise(row):
            if less <= budget <= more:
                part = (more - budget) / (more - less) if more > less else 0.0
                return math.exp(math.log(low) + part * (math.log(high) - math.log(low)))
        return row[0][0] if budget > row[0][1] else row[-1][0]

    def to_json(self) -> dict[str, list[list[float]]]:
        return {str(steps): [list(pair) for pair in row] for steps, row in self.rows.items()}

    @classmethod
    def from_json(cls, content: Any) -> "PriceTable":
        """Raises WeightsError for anything but what `to_json` writes."""
        try:
            rows = {
                int(steps): tuple((float(price), float(share)) for price, share in row)
                for steps, row in content.items()
            }
            if not well_formed(rows):
                raise ValueError("not a table of prices")
        except (AttributeError, OverflowError, TypeError, ValueError) as error:
            raise WeightsError(
                f"config.json's prices must rise as shares fall, got another table ({error}). "
                "Restore the file, or remove `prices` for equal shares a step."
            ) from None
        return cls(rows)


def well_formed(rows: dict[int, tuple[tuple[float, float], ...]]) -> bool:
    """Bounded, positive and finite, prices rising and shares falling."""
    if not 0 < len(rows) <= MAX_ROWS or min(rows) < 1 or max(rows) > MAX_STEPS:
        return False
    return all(
        0 < len(row) <= MAX_ROWS
        and all(0 < price < math.inf and 0 <= share < math.inf for price, share in row)
        and all(a[0] < b[0] and a[1] >= b[1] for a, b in pairwise(row))
        for row in rows.values()
    )
