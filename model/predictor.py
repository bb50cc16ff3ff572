"""The predictor: how wrong each region's D would be, held or computed at each width.

Two heads over one small MLP: the residual (of holding; what the exit threshold reads) and the
errors of the four widths, whose difference to the residual is the gain of computing.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nitrogen.kernels import dispatch
from nitrogen.kernels.blocks import one_call, parameters_of
from nitrogen.kernels.cpu import fused
from nitrogen.kernels.cpu.fused import Layer
from nitrogen.model.config import NUM_WIDTHS, ArchConfig
from nitrogen.model.observation import NUM_SCALARS

HIDDEN, CLASS_CHANNELS = 64, 8
# Without the discount that it is for, one price let pictures spend their budget on the first step,
# of which later ones leave little. Of 2.5, 5, 10 and 20 by the error of whole runs at about equal
# compute (docs/LOG.md, 2026-11-26).
SPREAD = 5.0
LOG_RANGE = (-18.0, 4.0)  # log mean squared error; beyond it nothing can be seen


class Predictor(nn.Module):
    """log E|D_option - D_teacher|^2 of a region for the options held, 1/4, 1/2, 3/4 and 1."""

    def __init__(self, arch: ArchConfig):
        super().__init__()
        inputs = 2 * (NUM_SCALARS + 2 * arch.image_channels) + CLASS_CHANNELS
        self.classes = nn.Parameter(torch.randn(arch.num_classes + 1, CLASS_CHANNELS) * 0.1)
        self.enter = nn.Linear(inputs, HIDDEN)
        self.middle = nn.Linear(HIDDEN, HIDDEN)
        self.residual = nn.Linear(HIDDEN, 1)
        self.widths = nn.Linear(HIDDEN, NUM_WIDTHS)
        nn.init.constant_(self.residual.bias, -4.0)
        nn.init.constant_(self.widths.bias, -6.0)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """features: [b, rh, rw, f], labels: [b] -> [b, rh, rw, 5] log errors, bounded; NaN where
        the answer is not finite, so that it cannot pass for a prediction.

        Every region sees its own features and their mean over the picture.
        """
        if one_call(features, *parameters_of(self)):
            return fused.predict(features, labels, self.classes, self.layers(), LOG_RANGE)
        b, rh, rw, f = features.shape
        overall = features.reshape(b, rh * rw, f).sum(dim=1) / (rh * rw)
        inputs = [
            features,
            overall[:, None, None].expand(b, rh, rw, f),
            self.classes[labels][:, None, None].expand(b, rh, rw, CLASS_CHANNELS),
        ]
        hidden = F.gelu(self._map(torch.cat(inputs, dim=-1), self.enter))
        hidden = F.gelu(self._map(hidden, self.middle))
        out = torch.cat([self._map(hidden, self.residual), self._map(hidden, self.widths)], dim=-1)
        return out.where(out.isfinite(), torch.nan).clamp(*LOG_RANGE)

    def layers(self) -> tuple[Layer, Layer, Layer, Layer]:
        """Weight and bias of each, as the C++ takes them."""
        linears = (self.enter, self.middle, self.residual, self.widths)
        one, two, three, four = ((linear.weight, linear.bias) for linear in linears)
        return one, two, three, four

    def _map(self, x: Tensor, layer: nn.Linear) -> Tensor:
        return dispatch.linear(x, layer.weight, layer.bias)


def predictor_flops(arch: ArchConfig, num_regions: int) -> int:
    """FLOPs of one prediction for one sample."""
    inputs = 2 * (NUM_SCALARS + 2 * arch.image_channels) + CLASS_CHANNELS
    return num_regions * 2 * HIDDEN * (inputs + HIDDEN + 1 + NUM_WIDTHS)


def sensitivity_weight(sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """lambda(sigma, sigma') = (1 - sigma' / sigma)^2 s^2 / (s^2 + sigma'^2), [b] -> [b]: how far an
    error of D moves x, discounted at high noise.

    The discount is what the ODE of data ~ N(0, s^2) leaves of an error of x at sigma' (EDM, eq. 1),
    with s = SPREAD. It is stronger than the sensitivity that was measured (0.4 at the first step, 1
    and more later): what is bought at high noise is bought for a whole run, and errors there are
    corrected by steps that see the picture better.
    """
    spread = torch.full_like(sigma_next, SPREAD * SPREAD)  # a number over a tensor is no division
    return (1 - sigma_next / sigma).square() * (spread / (spread + sigma_next.square()))


def gains(log_errors: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """[b, rh, rw, 5] float64: gain of each option over holding (0 for holding itself)."""
    errors = log_errors.double().exp()
    weight = sensitivity_weight(sigma.double(), sigma_next.double())
    return weight[:, None, None, None] * (errors[..., :1] - errors)
