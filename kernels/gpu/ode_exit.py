"""The solver's update of every pixel in one pass: DPM-Solver++(2M), or closed form where held.

In data prediction dx/dsigma = (x - D) / sigma, so x(s') = T + (s' / s)(x - T): T = D where a region
is held (exact, since D stays), D extrapolated in log sigma elsewhere (Lu et al. 2022b, alg. 2).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from nitrogen.kernels.gpu.launch import launch
from nitrogen.kernels.gpu.tuning import choose


def ode_exit(
    x: Tensor,  # [b, h, w, ch] at sigma
    denoised: Tensor,  # [b, h, w, ch]
    last: Tensor,  # [b, h, w, ch], D of the step before
    sigma: Tensor,  # [b]
    sigma_next: Tensor,  # [b]
    sigma_last: Tensor,  # [b], NaN at the first step
    held: Tensor,  # [b, rh, rw] bool
) -> Tensor:
    """x [b, h, w, ch] at sigma_next; D where that is 0."""
    x, denoised, last = x.contiguous(), denoised.contiguous(), last.contiguous()
    b, height, width, ch = x.shape
    out = torch.empty_like(x)
    config = choose("ode_exit", x.dtype, ch)
    launch(
        ode_exit_kernel, (triton.cdiv(height * width * ch, config.blocks["BLOCK"]), b), config, x=x,
        denoised=denoised, last=last, sigma=sigma, sigma_next=sigma_next, sigma_last=sigma_last,
        held=held.contiguous().view(torch.uint8), out=out, height=height, width=width, channels=ch,
        rh=held.shape[1], rw=held.shape[2],
    )  # fmt: skip
    return out


@triton.jit
def ode_exit_kernel(
    x, denoised, last, sigma, sigma_next, sigma_last, held, out, height, width, channels, rh, rw,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK values of one sample."""
    sample = tl.program_id(1).to(tl.int64)
    value = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = value < height * width * channels
    pixel = value // channels
    # The region's index scales one axis at a time: neither product leaves 32 bits.
    region = (pixel // width // (height // rh)) * rw + pixel % width // (width // rw)
    here = tl.load(sigma + sample).to(tl.float64)
    there = tl.load(sigma_next + sample).to(tl.float64)
    before = tl.load(sigma_last + sample).to(tl.float64)
    first_order = (before != before) | (there == 0)
    # log of a ratio near 1 keeps few digits in float32.
    step = tl.log(here / tl.where(first_order, here, there))
    past = tl.log(tl.where(first_order, here * 2, before) / here)
    slope = (step / (2 * past)).to(tl.float32)
    ratio = (there / here).to(tl.float32)
    place = sample * height * width * channels + value
    d = tl.load(denoised + place, mask=mask, other=0.0).to(tl.float32)
    old = tl.load(last + place, mask=mask, other=0.0).to(tl.float32)
    keeps = tl.load(held + sample * rh * rw + region, mask=mask, other=0) != 0
    # Selected, not multiplied by 0: `last` may hold anything at the first step.
    target = tl.where(keeps, d, tl.where(first_order, d, d + slope * (d - old)))
    now = tl.load(x + place, mask=mask, other=0.0).to(tl.float32)
    # At sigma_next = 0 the result is D itself, whatever x holds.
    slid = tl.where(there == 0, d, target + ratio * (now - target))
    tl.store(out + place, slid, mask=mask)
