"""Pictures as people get them, and what each of them cost."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nitrogen.model.budget import regions_flops
from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.regions import widths_run
from nitrogen.model.request import Finished
from nitrogen.model.sampler import Sampler


@dataclass(frozen=True)
class SampleStats:
    """What one picture cost.

    gflops, gflops_full: executed, and of the full model for the same steps; ms: wall clock of
    its batch over the batch's pictures; active_fraction: mean width over regions, steps
    and levels, as arch.layer_width bounds them; heatmap: [steps, rows, columns] in 0..1, share of a
    full region's compute; fallbacks: steps planned by a schedule, since the predictor's answer was
    not finite.
    """

    gflops: float
    gflops_full: float
    ms: float
    num_steps: int
    active_fraction: float
    heatmap: Tensor
    fallbacks: int = 0


@dataclass(frozen=True)
class Generation:
    """images: [n, h, w, 3] uint8; stats: one a picture."""

    images: Tensor
    stats: list[SampleStats]


def stats_of(finished: Finished, sampler: Sampler, ms: float) -> SampleStats:
    missing = finished.max_steps - finished.num_steps
    whole = torch.nn.functional.pad(finished.widths, (0, 0, 0, 0, 0, missing))
    shares, ran = [], []
    parts = (slice(finished.late_from), slice(finished.late_from, None))
    for part, cost in zip(parts, (sampler.cost, (sampler.late or sampler).cost), strict=True):
        widths, sigmas = whole[part], finished.sigmas[part]
        shares.append(regions_flops(widths, cost, sigmas) / cost.region_flops[-1])
        ran.append(widths_run(cost.arch, widths, sigmas).double())
    share, active = torch.cat(shares), torch.cat(ran).mean() / NUM_WIDTHS
    return SampleStats(
        gflops=finished.flops / 1e9,
        gflops_full=finished.full_flops / 1e9,
        ms=ms,
        num_steps=finished.num_steps,
        active_fraction=float(active),
        heatmap=share.float(),
        fallbacks=finished.fallbacks,
    )


def to_uint8(x_0: Tensor) -> Tensor:
    """[-1, 1] -> 0..255, rounded."""
    return ((x_0.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
