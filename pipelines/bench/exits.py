"""Forward passes that early exit alone saves: Euler, 50 steps, everything else at full width.

The threshold is the largest whose pictures stay at 35 dB of those without exit on the validation
split; what it saves is then measured on the report split.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nitrogen.model.policies import Full, Policy
from nitrogen.pipelines.bench.controls import ExitAlone
from nitrogen.pipelines.bench.methods import Method, with_policy
from nitrogen.pipelines.bench.models import Models
from nitrogen.pipelines.bench.quality import Sampled, psnr, sample, squared_errors
from nitrogen.pipelines.metrics.bootstrap import bootstrap
from nitrogen.pipelines.sampling import Draws

MIN_PSNR_DB = 35.0
SOLVER = "euler"


def forward_passes_saved(
    models: Models, tune: Draws, report: Draws, num_steps: int, thresholds: Sequence[float]
) -> dict[str, Any]:
    """Shares of the forwards of no exit, with 95 % intervals over pictures.

    regions: region-weighted forward equivalents; samples: steps in which nothing of the picture
    was computed; psnr_db: to no exit, mean over pictures; threshold: None when none keeps 35 dB.
    """
    threshold = chosen_threshold(models, tune, num_steps, thresholds)
    if threshold is None:
        return {"threshold": None, "reason": f"no threshold keeps {MIN_PSNR_DB:g} dB", "n": 0}
    kept = drawn_by(models, Full(), report, num_steps)
    exited = drawn_by(models, ExitAlone(threshold), report, num_steps)
    regions, samples = saved(exited)
    dB = psnr(squared_errors(exited.x_0, kept.x_0))
    return {
        "threshold": threshold,
        "num_steps": num_steps,
        "solver": SOLVER,
        "regions": bootstrap(regions).to_dict(),
        "samples": bootstrap(samples).to_dict(),
        "psnr_db": bootstrap(dB).to_dict(),
        "holds": bool(dB.mean() >= MIN_PSNR_DB),
        "n": len(dB),
    }


def chosen_threshold(
    models: Models, tune: Draws, num_steps: int, thresholds: Sequence[float]
) -> float | None:
    """The largest threshold that keeps MIN_PSNR_DB on the validation seeds."""
    kept = drawn_by(models, Full(), tune, num_steps)
    for threshold in sorted(thresholds, reverse=True):
        exited = drawn_by(models, ExitAlone(threshold), tune, num_steps)
        if psnr(squared_errors(exited.x_0, kept.x_0)).mean() >= MIN_PSNR_DB:
            return threshold
    return None


def saved(sampled: Sampled) -> tuple[np.ndarray, np.ndarray]:
    """Shares [n] of region-steps and of whole steps in which nothing was computed."""
    assert sampled.widths is not None
    computed = sampled.widths.reshape(*sampled.widths.shape[:2], -1) > 0
    return 1 - computed.mean(axis=(1, 2)), 1 - computed.any(axis=2).mean(axis=1)


def drawn_by(models: Models, policy: Policy, drawn: Draws, num_steps: int) -> Sampled:
    setting = {"solver": SOLVER, "num_steps": num_steps}
    method = Method("exit", "ours", "policy", setting)
    return sample(with_policy(models, method, policy, "student"), drawn)
