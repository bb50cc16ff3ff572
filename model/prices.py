"""The price of compute at which the `budget` policy spends a budget: measured once, kept with it.

Equal shares for every step are wasteful: what is computed at high noise is corrected later, what
is computed at the end changes little. At one price per FLOP for all steps and regions, each buys
what gains more than that, which is one allocation over the whole run. Which price spends which
share of full compute is a property of the model; the ceiling holds whatever the table says.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch

from nitrogen.model.denoiser import Denoiser
from nitrogen.model.errors import WeightsError
from nitrogen.model.policies import Budget
from nitrogen.model.predictor import Predictor
from nitrogen.model.request import Request
from nitrogen.model.sampler import Sampler
from nitrogen.model.schedules import MAX_STEPS

STEPS = (4, 8, 16, 32)
GAINS = tuple(10.0 ** (k / 2) for k in range(-14, -1))  # of a full region, 1e-7 to 0.1
NUM_PICTURES, FIRST_SEED = 8, 10_000
MAX_ROWS = 64


@dataclass(frozen=True)
class PriceTable:
    """rows: number of steps -> (price, mean share of full compute), by rising price and falling
    share. A price is a mean squared error of x_0 per FLOP of a region."""

    rows: dict[int, tuple[tuple[float, float], ...]]

    def price(self, budget: float, num_steps: int) -> float:
        """Log-linear between the shares measured at the nearest number of steps; at the ends, the
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


def measure_prices(
    denoiser: Denoiser, predictor: Predictor, steps: Sequence[int] = STEPS
) -> PriceTable:
    """Samples a few pictures at each price; classes in turn, seeds of their own, no guidance.

    Without a ceiling: under one, pictures that want more are cut and spending stays below it.
    """
    sampler = Sampler(denoiser, Budget(), predictor=predictor)
    full_region = float(sampler.cost.region_flops[-1])
    return PriceTable({num: measured_row(sampler, num, full_region) for num in steps})


def measured_row(sampler: Sampler, num_steps: int, full_region: float) -> tuple[Any, ...]:
    """(price, mean share) by rising price; shares are made to fall where chance has them rise."""
    classes = sampler.denoiser.arch.num_classes
    requests = [
        Request(label=i * classes // NUM_PICTURES, seed=FIRST_SEED + i,
                num_inference_steps=num_steps)
        for i in range(NUM_PICTURES)
    ]  # fmt: skip
    parts = sampler.batches(requests)
    row, least = [], math.inf
    for gain in GAINS:
        sampler.policy = replace(Budget(), price=gain / full_region)
        done = [one for part in parts for one in sampler.run(part)]
        shares = torch.tensor([one.flops / one.full_flops for one in done], dtype=torch.float64)
        least = min(least, float(shares.mean()))
        row.append((gain / full_region, least))
    return tuple(row)
