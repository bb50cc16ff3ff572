"""Exponential moving average of weights, with its half-life in images."""

import torch
from torch import Tensor, nn


def ema_decay(num_images: int, batch_size: int, halflife: float, rampup: float = 0.05) -> float:
    """Decay of one step after `num_images` images (EDM, appendix F): short at the start.

    halflife: images; rampup: the half-life is at most this share of the images seen so far.
    """
    images = min(halflife, max(num_images * rampup, 1e-8))
    return 0.5 ** (batch_size / images)


class EMA:
    """An average of a module's parameters, updated in place."""

    def __init__(self, module: nn.Module):
        self.average: dict[str, Tensor] = {
            name: value.detach().clone() for name, value in module.state_dict().items()
        }

    @torch.no_grad()
    def update(self, module: nn.Module, decay: float) -> None:
        for name, value in module.state_dict().items():
            self.average[name].lerp_(value.detach(), 1 - decay)

    def load(self, average: dict[str, Tensor]) -> None:
        """Takes over stored averages; raises KeyError for a name that is missing."""
        for name, value in self.average.items():
            value.copy_(average[name])
