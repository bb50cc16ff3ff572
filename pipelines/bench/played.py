"""A static schedule as a policy: one width a step for every region, through the sampler."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nitrogen.model.observation import Observation
from nitrogen.model.policies import Decision, no_exit


@dataclass(frozen=True)
class Played:
    """widths: of each step, in quarters; 0 keeps the last D, so the first may not be 0."""

    widths: tuple[int, ...]
    needs_predictor = False

    def __post_init__(self) -> None:
        if not self.widths or self.widths[0] == 0:
            raise ValueError(f"widths must start above 0, got {list(self.widths)}.")

    def decide(self, observation: Observation) -> Decision:
        table = torch.tensor(self.widths, device=observation.step.device)
        quarters = table[observation.step][:, None, None]
        return no_exit(quarters.expand_as(observation.past.quarters).contiguous())
