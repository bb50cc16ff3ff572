"""Thresholds of exit with a guarantee, and what they keep on pictures that were not seen.

A threshold is chosen on the validation split, from predicted and true errors of held regions along
the student's own roll-outs; what it keeps is measured on the report split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nitrogen.model.policies import Policy
from nitrogen.model.row_denoiser import RowDenoiser
from nitrogen.pipelines.bench.models import Models
from nitrogen.pipelines.bench.settings import SOLVER
from nitrogen.pipelines.evaluation.residuals import Pairs, watched
from nitrogen.pipelines.metrics.calibration import (
    ALPHA,
    exit_threshold,
    realised,
    reliability,
    votes_needed,
)
from nitrogen.pipelines.metrics.ranks import spearman
from nitrogen.pipelines.sampling import Draws

CANDIDATES = tuple(np.geomspace(1e-6, 1e-1, 51).tolist())


def pairs(models: Models, policy: Policy, drawn: Draws, num_steps: int) -> Pairs:
    """Roll-outs of the student under `policy`, which must not let whole samples exit."""
    teacher = RowDenoiser(models.teacher.denoiser)
    return watched(models.student, teacher, policy, drawn, num_steps, SOLVER)


def calibrate(
    models: Models,
    policy: Policy,
    tune: Draws,
    report: Draws,
    *,
    num_steps: int,
    eps: Sequence[float],
    delta: float = 0.1,
    alpha: float = ALPHA,
) -> dict[str, Any]:
    """Reliability on the report split, and for each eps the threshold with its guarantee.

    For each eps: the threshold chosen on the validation split, and P(error > eps | exit) that it
    led to on the report split over `exits` region-steps; `holds`: see below.
    """
    known, unseen = pairs(models, policy, tune, num_steps), pairs(models, policy, report, num_steps)
    inside = ~np.isnan(unseen.actual)
    thresholds = []
    for bound in eps:
        found = exit_threshold(
            known.predicted, known.actual, eps=bound, delta=delta, candidates=CANDIDATES,
            alpha=alpha,
        )  # fmt: skip
        entry = found.to_dict()
        if found.value is not None:
            kept = realised(unseen.predicted, unseen.actual, found.value, bound, alpha)
            exits = int(((unseen.predicted < found.value) & inside).sum())
            entry |= {"unseen": kept, "holds": holds(kept, delta, alpha), "exits": exits}
        thresholds.append(entry)
    return {
        "num_steps": num_steps,
        "n": len(report),
        "n_calibration": len(tune),
        "reliability": reliability(unseen.predicted[inside], unseen.actual[inside]),
        "thresholds": thresholds,
        "ranking": ranking(unseen, num_steps),
    }


def holds(unseen: Mapping[str, Any], delta: float, alpha: float = ALPHA) -> bool | None:
    """Whether the share of exits above eps is at most delta, by its whole interval and by the exact
    bound, which older files do not hold (True), or above it by its whole interval (False).

    None where neither is so, and of fewer pictures than could show the former by the exact bound.
    """
    if unseen["n"] < votes_needed(delta, alpha):
        return None
    if max(unseen["high"], unseen.get("bound", 0.0)) <= delta:
        return True
    return False if unseen["low"] > delta else None


def ranking(found: Pairs, num_steps: int) -> dict[str, Any]:
    """Spearman's rank correlation of predicted and true error *within* a picture and step: over
    all steps the noise level alone would give a large one."""
    steps = len(found.predicted) * num_steps
    values = spearman(found.predicted.reshape(steps, -1), found.actual.reshape(steps, -1))
    known = values[np.isfinite(values)]
    return {"value": float(known.mean()) if len(known) else None, "n": len(known)}
