"""Forward passes that early exit alone saves: Euler, 50 steps, everything else at full width.

A region is computed at full width at every step until its predicted residual is below one threshold
at two steps in a row; from then on its D is kept. Nothing is narrow, nothing is held and computed
again: what is saved is saved by exits. The threshold is the largest whose pictures stay at 35 dB of
those without exit on the validation split, by the mean of their PSNRs at its lower end, as it is
judged; what it saves is then measured on the report split.

Of which model: a student whose D answers for one noise level exits itself. A strided one was never
trained for 50 steps (its strides are those of 3 to 12), and its D of such a short step is the ratio
of two small numbers; there the full model is run, and the student's predictor says when to exit,
which is the question that the figure asks: how many of 50 evaluations did the picture need?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nitrogen.model.pipeline import Pipeline
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

    regions: region-weighted forward equivalents, the steps at which a region was not computed over
    all of its steps (a held region's stem and depthwise convolution still run: it is not a share
    of FLOPs); samples: steps in which nothing of the picture was computed, whole passes; psnr_db:
    to no exit, mean over pictures as everywhere in this project; psnr_db_pooled: of all their
    squared errors together, which a few bad ones lower; holds: psnr_db is MIN_PSNR_DB at its lower
    end; threshold: None when none keeps MIN_PSNR_DB; denoiser: whose forwards these are.
    """
    name, models = exiting(models)
    threshold = chosen_threshold(models, tune, num_steps, thresholds)
    if threshold is None:
        reason = f"no threshold keeps {MIN_PSNR_DB:g} dB"
        return {"threshold": None, "denoiser": name, "reason": reason, "n": 0}
    kept = drawn_by(models, Full(), report, num_steps)
    exited = drawn_by(models, ExitAlone(threshold), report, num_steps)
    regions, samples = saved(exited)
    errors = squared_errors(exited.x_0, kept.x_0)
    dB = bootstrap(psnr(errors)).to_dict()
    return {
        "threshold": threshold,
        "denoiser": name,
        "num_steps": num_steps,
        "solver": SOLVER,
        "regions": bootstrap(regions).to_dict(),
        "samples": bootstrap(samples).to_dict(),
        "psnr_db": dB,
        "psnr_db_pooled": pooled_psnr(errors),
        "holds": bool(dB["low"] >= MIN_PSNR_DB),
        "n": len(errors),
    }


def exiting(models: Models) -> tuple[str, Models]:
    """Whose denoiser runs, and the models with it and the predictor as their student."""
    student = models.student
    if not student.arch.strided:
        return "student", models
    full = Pipeline(models.teacher.denoiser, student.classes, student.predictor)
    return "teacher", replace(models, student=full)


def chosen_threshold(
    models: Models, tune: Draws, num_steps: int, thresholds: Sequence[float]
) -> float | None:
    """The largest threshold that keeps MIN_PSNR_DB on the validation seeds as `holds` asks for it,
    the mean over pictures at its lower end, by bisection: the higher, the earlier all exit."""
    kept = drawn_by(models, Full(), tune, num_steps)
    rising = sorted(thresholds)
    good, bad = -1, len(rising)
    while bad - good > 1:
        middle = (good + bad) // 2
        exited = drawn_by(models, ExitAlone(rising[middle]), tune, num_steps)
        dB = bootstrap(psnr(squared_errors(exited.x_0, kept.x_0))).low
        good, bad = (middle, bad) if dB >= MIN_PSNR_DB else (good, middle)
    return rising[good] if good >= 0 else None


def pooled_psnr(errors: np.ndarray) -> dict[str, Any]:
    """dB of the mean squared error [n] of all pictures, with its interval."""
    mse = bootstrap(errors)
    value, low, high = (float(psnr(error)) for error in (mse.value, mse.high, mse.low))
    return {"value": value, "low": low, "high": high, "n": mse.n}


def saved(sampled: Sampled) -> tuple[np.ndarray, np.ndarray]:
    """Shares [n] of region-steps and of whole steps in which nothing was computed."""
    assert sampled.widths is not None
    computed = sampled.widths.reshape(*sampled.widths.shape[:2], -1) > 0
    return 1 - computed.mean(axis=(1, 2)), 1 - computed.any(axis=2).mean(axis=1)


def drawn_by(models: Models, policy: Policy, drawn: Draws, num_steps: int) -> Sampled:
    setting = {"solver": SOLVER, "num_steps": num_steps}
    method = Method("exit", "ours", "policy", setting)
    return sample(with_policy(models, method, policy, "student"), drawn)
