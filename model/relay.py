"""Two networks in turn: a strided student where noise is high, the full model where it is low.

What a strided student learns is easy at high noise, where D is smooth, and even its narrowest slice
does it; at low noise its error has a floor that more steps do not lower. The full model has none
and needs many steps at high noise alone. So the student takes the first strides, under the budget,
and the full model the last steps, whole (experts by noise level: Balaji et al. 2022, section 4).
docs/LOG.md, 2026-11-27, has what either does alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from nitrogen.model.config import NUM_WIDTHS, ArchConfig
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.errors import WeightsError
from nitrogen.model.schedules import KARRAS, MAX_STEPS, Spacing, karras_sigmas

if TYPE_CHECKING:
    from nitrogen.model.prices import PriceTable

MAX_ROWS = 64
SHARED = {"strided": False, "stride_sigma_min": None, "layer_width": ()}  # what may differ


@dataclass(frozen=True)
class Leg:
    """Where the networks change: after `early` strides, even in ln sigma, the full model begins at
    `sigma` and goes down to `sigma_min`, evenly in sigma^(1 / rho)."""

    early: int
    sigma: float
    sigma_min: float
    rho: float

    def sigmas(self, num_steps: int) -> Tensor:
        """Noise levels of a run, [num_steps + 1] float64, 0 at the end."""
        spacing = Spacing(self.sigma_min, self.rho, strides=self.early, knee=self.sigma)
        return karras_sigmas(num_steps, spacing)

    def early_share(self, budget: float, num_steps: int) -> float:
        """What a budget, a share of num_steps full steps, leaves the strides, of their own."""
        return (budget * num_steps - (num_steps - self.early)) / self.early

    def budget(self, early_share: float, num_steps: int) -> float:
        """The budget that leaves that."""
        return (early_share * self.early + num_steps - self.early) / num_steps

    def strides(self, early_share: float, step_shares: Sequence[float]) -> tuple[int, ...]:
        """The widest strides that never narrow and cost at most that share of full ones, later ones
        wider first. step_shares: [5] of a full step, by quarters."""
        room = early_share * self.early + 1e-9
        widths = [1] * self.early
        for quarters in range(2, NUM_WIDTHS + 1):
            for stride in reversed(range(self.early)):
                wider = [*widths[:stride], quarters, *widths[stride + 1 :]]
                if sum(step_shares[q] for q in wider) <= room:
                    widths = wider
        return tuple(widths)

    @property
    def well_formed(self) -> bool:
        numbers = 0 < self.sigma_min < self.sigma < KARRAS.sigma_max and 1 <= self.rho <= 100
        return type(self.early) is int and 1 <= self.early < MAX_STEPS and numbers


@dataclass(frozen=True)
class RelayTable:
    """rows: number of steps from which on -> the leg."""

    rows: Mapping[int, Leg]

    def row(self, num_steps: int) -> int | None:
        """The nearest number of steps below that there is a leg for, None below all of them."""
        return max((steps for steps in self.rows if steps <= num_steps), default=None)

    def leg(self, num_steps: int) -> Leg | None:
        """Of the nearest number of steps below; more are steps of the full model. None for fewer
        than any row is for."""
        row = self.row(num_steps)
        return None if row is None else self.rows[row]

    def to_json(self) -> dict[str, list[float]]:
        return {str(steps): list(astuple(leg)) for steps, leg in self.rows.items()}

    @classmethod
    def from_json(cls, content: Any) -> "RelayTable":
        """Raises WeightsError for anything but what `to_json` writes."""
        try:
            rows = {int(steps): Leg(*leg) for steps, leg in content.items()}
            if not 0 < len(rows) <= MAX_ROWS or any(
                not (leg.well_formed and leg.early < steps <= MAX_STEPS)
                for steps, leg in rows.items()
            ):
                raise ValueError("not a table of legs")
        except (AttributeError, OverflowError, TypeError, ValueError) as error:
            raise WeightsError(
                "config.json's relay must have strides, sigma, sigma_min and rho for numbers of "
                f"steps, got another table ({error}). Restore the file, or remove `relay`."
            ) from None
        return cls(rows)


@dataclass(frozen=True)
class Relay:
    """late: the network that finishes, not strided; table: when it takes over; prices: of policy
    `budget` by the share of its strides' full compute that a budget leaves them."""

    late: Denoiser
    table: RelayTable
    prices: "PriceTable | None" = None

    def price(self, budget: float, num_steps: int) -> float | None:
        """Of the strides of a run that pays for its late steps; None for equal shares."""
        row, leg = self.table.row(num_steps), self.table.leg(num_steps)
        if self.prices is None or row is None or leg is None:
            return None
        return self.prices.price(leg.early_share(budget, num_steps), row)


def late_arch(arch: ArchConfig) -> ArchConfig:
    """Of the network that finishes what one of `arch` began."""
    return arch.model_copy(update=SHARED)
