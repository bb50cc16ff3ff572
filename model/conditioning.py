"""From (sigma, class), and the stride of a strided network, to the modulation of every block."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nitrogen.kernels import dispatch
from nitrogen.kernels.blocks import one_call, parameters_of
from nitrogen.kernels.cpu import fused
from nitrogen.kernels.linear import pad_rows
from nitrogen.model.config import ArchConfig
from nitrogen.model.errors import ModelError

NUM_FREQUENCIES = 32
SAMPLE_BLOCK = 8  # a whole vector of samples: activations round differently in a loop's tail


class Conditioning(nn.Module):
    """c_noise and class label -> one vector of all modulations; dropped labels are `num_classes`.

    Fourier features of c_noise (Tancik et al. 2020) at fixed, log-spaced frequencies.
    """

    def __init__(self, arch: ArchConfig, num_outputs: int):
        super().__init__()
        channels, self.strided = arch.cond_channels, arch.strided
        frequencies = torch.logspace(math.log10(0.25), math.log10(16.0), NUM_FREQUENCIES)
        self.frequencies: Tensor
        self.register_buffer("frequencies", frequencies * 2 * math.pi, persistent=False)
        self.w_sigma = nn.Parameter(torch.empty(channels, 2 * NUM_FREQUENCIES))
        self.b_sigma = nn.Parameter(torch.zeros(channels))
        self.classes = nn.Parameter(torch.randn(arch.num_classes + 1, channels) * 0.5)
        # Zero: a strided student starts as the teacher whose weights it is given.
        if arch.strided:
            self.w_stride = nn.Parameter(torch.zeros(channels, 2 * NUM_FREQUENCIES))
            self.b_stride = nn.Parameter(torch.zeros(channels))
        self.w_joint = nn.Parameter(torch.empty(channels, channels))
        self.b_joint = nn.Parameter(torch.zeros(channels))
        # Zero: every gate starts closed and the network starts as the identity (Peebles and Xie
        # 2023, adaLN-Zero).
        self.w_out = nn.Parameter(torch.zeros(num_outputs, channels))
        self.b_out = nn.Parameter(torch.zeros(num_outputs))
        nn.init.kaiming_normal_(self.w_sigma, nonlinearity="linear")
        nn.init.kaiming_normal_(self.w_joint, nonlinearity="relu")

    def forward(
        self, c_noise: Tensor, labels: Tensor, stride: Tensor | None = None, *, blocked: bool
    ) -> Tensor:
        """c_noise: [b], labels: [b] int64 -> [b, num_outputs].

        stride: [b], sigma_next / sigma in 0..1; read by a strided network alone, which raises
        ModelError without it.
        blocked: samples in padded blocks, so that a sample's bits do not depend on the batch.
        """
        if self.strided and stride is None:
            raise ModelError(
                "sigma_next must be given to a strided denoiser, got none. Pass the noise level "
                "that the step ends at."
            )
        if blocked and one_call(c_noise, *parameters_of(self)):
            return self._one_call(c_noise, labels, stride)
        num_samples = c_noise.shape[0]
        linear = dispatch.linear if blocked else F.linear
        if blocked:
            c_noise = pad_rows(c_noise[:, None], SAMPLE_BLOCK)[:, 0]
            labels = F.pad(labels, (0, c_noise.shape[0] - num_samples))
            stride = None if stride is None else F.pad(stride, (0, len(labels) - num_samples))
        hidden = linear(self._fourier(c_noise), self.w_sigma, self.b_sigma) + self.classes[labels]
        if self.strided and stride is not None:
            hidden = hidden + linear(self._fourier(stride), self.w_stride, self.b_stride)
        hidden = F.silu(hidden)
        hidden = F.silu(linear(hidden, self.w_joint, self.b_joint))
        return linear(hidden[:num_samples], self.w_out, self.b_out)

    def _one_call(self, c_noise: Tensor, labels: Tensor, stride: Tensor | None) -> Tensor:
        of_stride = (self.w_stride, self.b_stride) if self.strided else None
        return fused.conditioning(
            c_noise, labels, stride, self.frequencies, self.classes,
            ((self.w_sigma, self.b_sigma), of_stride, (self.w_joint, self.b_joint),
             (self.w_out, self.b_out)),
        )  # fmt: skip

    def _fourier(self, values: Tensor) -> Tensor:
        """values: [b] -> [b, 2 NUM_FREQUENCIES]."""
        angles = values[:, None] * self.frequencies
        return torch.cat([angles.cos(), angles.sin()], dim=1)
