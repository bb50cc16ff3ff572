"""Two networks in turn: a strided student where noise is high, the full model where it is low.

What a strided student learns is easy at high noise, where D is smooth, and even its narrowest slice
does it; at low noise its error has a floor that more steps do not lower. The full model has none
and needs many steps at high noise alone. So the student takes the first strides, under the budget,
and the full model the last steps, whole (experts by noise level: Balaji et al. 2022, section 4).
Late steps are most of the cost: a budget that does not pay for those of one relay may pay for those
of a cheaper one, which has more strides.
docs/LOG.md, 2026-11-27, has what either does alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from typing import Any

from nitrogen.model.config import ArchConfig
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.errors import WeightsError
from nitrogen.model.leg import MAX_RELAYS, MAX_ROWS, Leg
from nitrogen.model.price_table import PriceTable

SHARED = {"strided": False, "stride_sigma_min": None, "layer_width": ()}  # what may differ


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
                not leg.can_run(steps) for steps, leg in rows.items()
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
    `budget` by the share of its strides' full compute that a budget leaves them; cheaper: for
    budgets that do not pay for this one's late steps, by the same network."""

    late: Denoiser
    table: RelayTable
    prices: PriceTable | None = None
    cheaper: "Relay | None" = None

    def each(self) -> Iterator["Relay"]:
        """This one and those below it, the dearest first."""
        relay: Relay | None = self
        while relay is not None:
            yield relay
            relay = relay.cheaper

    def price(self, budget: float, num_steps: int) -> float | None:
        """Of the strides of a run that pays for its late steps; None for equal shares."""
        row, leg = self.table.row(num_steps), self.table.leg(num_steps)
        if self.prices is None or row is None or leg is None:
            return None
        return self.prices.price(leg.early_share(budget, num_steps), row)

    def to_json(self) -> dict[str, Any]:
        """As config.json has it, without the weights."""
        content: dict[str, Any] = {"legs": self.table.to_json()}
        if self.prices is not None:
            content["prices"] = self.prices.to_json()
        if self.cheaper is not None:
            content["cheaper"] = self.cheaper.to_json()
        return content

    @classmethod
    def from_json(cls, content: Any, late: Denoiser) -> "Relay":
        """Raises WeightsError for anything but what `to_json` writes."""
        relay: Relay | None = None
        for told in reversed(nested(content)):
            prices = PriceTable.from_json(told["prices"]) if "prices" in told else None
            relay = cls(late, RelayTable.from_json(told.get("legs")), prices, relay)
        assert relay is not None, "nested says at least one"
        return relay


def nested(content: Any) -> list[dict[str, Any]]:
    """`relay` of config.json and those below it. Raises WeightsError."""
    found: list[dict[str, Any]] = []
    while content is not None:
        if not isinstance(content, dict) or len(found) == MAX_RELAYS:
            raise WeightsError(
                f"config.json's relay must be an object, with at most {MAX_RELAYS} one within the "
                "other as `cheaper`. Restore the file, or remove `relay`."
            )
        found.append(content)
        content = content.get("cheaper")
    return found or [{}]


def legs_of(content: Any) -> tuple[Leg, ...]:
    """Every leg of `relay` of config.json. Raises WeightsError."""
    tables = [RelayTable.from_json(told.get("legs")) for told in nested(content)]
    return tuple(leg for table in tables for leg in table.rows.values())


def late_arch(arch: ArchConfig) -> ArchConfig:
    """Of the network that finishes what one of `arch` began."""
    return arch.model_copy(update=SHARED)
