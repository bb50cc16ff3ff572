"""From (sigma, class) to the modulation of every block."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nitrogen.kernels import dispatch
from nitrogen.kernels.linear import pad_rows
from nitrogen.model.config import ArchConfig

NUM_FREQUENCIES = 32
SAMPLE_BLOCK = 8  # a whole vector of samples: activations round differently in a loop's tail


class Conditioning(nn.Module):
    """c_noise and class label -> one vector of all modulations; dropped labels are `num_classes`.

    Fourier features of c_noise (Tancik et al. 2020) at fixed, log-spaced frequencies.
    """

    def __init__(self, arch: ArchConfig, num_outputs: int):
        super().__init__()
        channels = arch.cond_channels
        frequencies = torch.logspace(math.log10(0.25), math.log10(16.0), NUM_FREQUENCIES)
        self.frequencies: Tensor
        self.register_buffer("frequencies", frequencies * 2 * math.pi, persistent=False)
        self.w_sigma = nn.Parameter(torch.empty(channels, 2 * NUM_FREQUENCIES))
        self.b_sigma = nn.Parameter(torch.zeros(channels))
        self.classes = nn.Parameter(torch.randn(arch.num_classes + 1, channels) * 0.5)
        self.w_joint = nn.Parameter(torch.empty(channels, channels))
        self.b_joint = nn.Parameter(torch.zeros(channels))
        # Zero: every gate starts closed and the network starts as the identity (Peebles and Xie
        # 2023, adaLN-Zero).
        self.w_out = nn.Parameter(torch.zeros(num_outputs, channels))
        self.b_out = nn.Parameter(torch.zeros(num_outputs))
        nn.init.kaiming_normal_(self.w_sigma, nonlinearity="linear")
        nn.init.kaiming_normal_(self.w_joint, nonlinearity="relu")

    def forward(self, c_noise: Tensor, labels: Tensor, blocked: bool) -> Tensor:
        """c_noise: [b], labels: [b] int64 -> [b, num_outputs].

        blocked: samples in padded blocks, so that a sample's bits do not depend on the batch.
        """
        num_samples = c_noise.shape[0]
        linear = dispatch.linear if blocked else F.linear
        if blocked:
            c_noise = pad_rows(c_noise[:, None], SAMPLE_BLOCK)[:, 0]
            labels = F.pad(labels, (0, c_noise.shape[0] - num_samples))
        angles = c_noise[:, None] * self.frequencies
        features = torch.cat([angles.cos(), angles.sin()], dim=1)
        hidden = F.silu(linear(features, self.w_sigma, self.b_sigma) + self.classes[labels])
        hidden = F.silu(linear(hidden, self.w_joint, self.b_joint))
        return linear(hidden[:num_samples], self.w_out, self.b_out)
