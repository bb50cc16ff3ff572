"""The EDM denoiser: D(x; sigma) in data prediction (Karras et al. 2022, eq. 7 and table 1)."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from nitrogen.kernels.blocks import one_call
from nitrogen.kernels.cpu import fused
from nitrogen.model.cache import Cache
from nitrogen.model.config import NUM_WIDTHS, ArchConfig
from nitrogen.model.regions import Plan, level_caps
from nitrogen.model.unet import RowUNet
from nitrogen.model.whole_network import whole_network


class Denoiser(nn.Module):
    """D(x_t; sigma) = c_skip x_t + c_out F(c_in x_t; c_noise).

    A strided denoiser answers for a whole step: the D with which Euler's step from sigma lands
    where the teacher's ODE lands at sigma_next, D = (x(sigma_next) - r x_t) / (1 - r), r the
    stride sigma_next / sigma. It is a flow map in data prediction (compare Kim et al. 2024, eq. 5).
    """

    def __init__(self, arch: ArchConfig):
        super().__init__()
        self.arch = arch
        self.unet = RowUNet(arch)

    def forward(
        self,
        x_t: Tensor,  # [b, h, w, c], x_0 + sigma eps, x_0 in [-1, 1]
        sigma: Tensor,  # [b]
        labels: Tensor,  # [b] int64; num_classes = no label
        *,
        sigma_next: Tensor | None = None,  # [b], for a strided denoiser; others do not read it
        quarters: int = NUM_WIDTHS,
        plan: Plan | None = None,
        cache: Cache | None = None,
    ) -> tuple[Tensor, Cache | None]:
        """Returns `denoised` [b, h, w, c] and the cache. See RowUNet.forward.

        A plan without bounds for its levels gets those of arch.layer_width at sigma; the dense
        path has none.
        """
        if plan is not None and plan.level_caps is None and self.arch.layer_width:
            plan = replace(plan, level_caps=level_caps(self.arch, sigma))
        if plan is not None and cache is not None:
            made = whole_network(self.unet, x_t, (sigma, sigma_next), labels, plan, cache)
            if made is not None:
                return made, cache
        c_skip, c_out, c_in, c_noise = preconditioning(sigma, self.arch.sigma_data)
        stride = None if sigma_next is None else sigma_next / sigma
        raw, cache = self.unet(
            c_in * x_t, c_noise, labels, stride=stride, quarters=quarters, plan=plan, cache=cache
        )
        return c_skip * x_t + c_out * raw, cache


def preconditioning(sigma: Tensor, sigma_data: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """c_skip, c_out, c_in: [b, 1, 1, 1] and c_noise: [b] (EDM, table 1)."""
    if one_call(sigma):
        made = fused.preconditioning(sigma, sigma_data)
        c_skip, c_out, c_in, _ = made[..., None, None, None].unbind()
        return c_skip, c_out, c_in, made[3]
    s = sigma[:, None, None, None]
    total = s.square() + sigma_data**2
    c_skip = sigma_data**2 / total
    c_out = s * sigma_data / total.sqrt()
    c_in = 1 / total.sqrt()
    # log in float64: its float32 vector body and scalar tail may differ in the last bit.
    c_noise = (sigma.double().log() / 4).to(torch.float32)
    return c_skip, c_out, c_in, c_noise
