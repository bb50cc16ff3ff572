"""A leg of a relay: at which noise level the networks change, and what a budget leaves the first.

Importable without torch, for recipes have legs too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nitrogen.model.config import MAX_STEPS, NUM_WIDTHS, SIGMA_MAX

if TYPE_CHECKING:
    from torch import Tensor

    from nitrogen.model.schedules import Spacing

MAX_RELAYS = 4  # of a student, one cheaper than the other
MAX_ROWS, MAX_STRIDES = 64, 100  # of a relay
LEAST_SIGMA = 1e-4  # no noise that a picture of 8 bits could show
MAX_RATIO = 0.9  # of sigma_min to sigma: up to MAX_STEPS levels lie between them


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
        from nitrogen.model.schedules import karras_sigmas

        return karras_sigmas(num_steps, self.spacing())

    def spacing(self) -> Spacing:
        """Where they lie."""
        from nitrogen.model.schedules import Spacing

        return Spacing(self.sigma_min, self.rho, strides=self.early, knee=self.sigma)

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

    def can_run(self, num_steps: int) -> bool:
        """Whether it is of strides and levels that a run of so many steps can have: in float32, and
        no two of them the same."""
        falls = LEAST_SIGMA <= self.sigma_min <= MAX_RATIO * self.sigma < MAX_RATIO * SIGMA_MAX
        strides = type(self.early) is int and 1 <= self.early <= min(num_steps - 1, MAX_STRIDES)
        return strides and num_steps <= MAX_STEPS and falls and 1 <= self.rho <= 100
