"""What the sampler does per region outside the network: statistics of D, and the ODE's step."""

import torch
from torch import Tensor
from torch.nn import functional as F


def region_stats(denoised: Tensor, last: Tensor, rh: int, rw: int) -> Tensor:
    """[b, rh, rw, ch + 2] float32: mean of D per channel, mean of D^2, mean of (D - last)^2.

    denoised, last: [b, h, w, ch].
    """
    d, change = denoised.float(), denoised.float() - last.float()
    squares = torch.stack([d.square().mean(-1), change.square().mean(-1)], dim=-1)
    window = (d.shape[1] // rh, d.shape[2] // rw)
    planes = torch.cat([d, squares], dim=-1).permute(0, 3, 1, 2)
    return F.avg_pool2d(planes, window).permute(0, 2, 3, 1)


def ode_exit(
    x: Tensor, denoised: Tensor, last: Tensor, sigma: Tensor, sigma_next: Tensor,
    sigma_last: Tensor, held: Tensor,
) -> Tensor:  # fmt: skip
    """x at sigma_next: DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2) where a region is computed,
    x(s') = D + (s' / s)(x - D), exact for a constant D, where it is held.

    x, denoised, last: [b, h, w, ch]; the sigmas: [b], sigma_last NaN at the first step and
    sigma_next 0 at the last, both of first order; held: [b, rh, rw] bool.
    """
    # log in float64: its float32 vector body and scalar tail may differ in the last bit.
    s, s_next, s_last = (v.double() for v in (sigma, sigma_next, sigma_last))
    half = (s / s_next).log() / (2 * (s_last / s).log())
    half = torch.where((s_next == 0) | s_last.isnan(), 0.0, half).to(x.dtype)
    per_region = torch.where(held, 0.0, half[:, None, None])
    per_region = per_region.repeat_interleave(x.shape[1] // held.shape[1], 1)
    per_pixel = per_region.repeat_interleave(x.shape[2] // held.shape[2], 2)[..., None]
    target = denoised + per_pixel * (denoised - last)
    ratio = (s_next / s).to(x.dtype)[:, None, None, None]
    return target + ratio * (x - target)
