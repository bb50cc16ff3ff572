"""The quality table of an evaluation: a row a method, with distances, cost and time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nitrogen.pipelines.evaluation.samples import Bench, Sampled
from nitrogen.pipelines.metrics.bootstrap import Estimate
from nitrogen.pipelines.metrics.features import FeatureNet
from nitrogen.pipelines.metrics.fid import InceptionNet
from nitrogen.pipelines.metrics.frechet import Gaussian, fit_gaussian, frechet_estimate
from nitrogen.pipelines.metrics.kernel import kernel_distance
from nitrogen.pipelines.metrics.timing import Timing
from nitrogen.pipelines.sampling import mean
from nitrogen.platform.gates import not_finite


@dataclass(frozen=True)
class Known:
    """Features of the data that samples are compared with: train, test [n, d].

    fitted: the training split's Gaussian, or None where n is too small for a Frechet distance.
    """

    extract: FeatureNet
    train: np.ndarray
    test: np.ndarray
    fitted: Gaussian | None

    @classmethod
    def of(cls, bench: Bench, num_images: int) -> Known:
        extract = FeatureNet()
        train, test = extract(bench.train.images), extract(bench.test.images)
        # Fitted once: the factor of a 1,280-dimensional covariance takes seconds.
        enough = min(num_images, len(train)) >= train.shape[1]
        return cls(extract, train, test, fit_gaussian(train) if enough else None)

    def distances(self, images: np.ndarray) -> dict[str, Estimate]:
        """KID against the test split, and fd_lite0 against the training split where n allows."""
        features = self.extract(images)
        found = {"kid": kernel_distance(features, self.test)}
        if self.fitted is not None and len(features) >= features.shape[1]:
            found["fd_lite0"] = frechet_estimate(features, self.train, self.fitted)
        return found


def add_fid(
    found: Sequence[dict[str, Estimate]],
    sampled: Sequence[Sampled],
    train: np.ndarray,
    extract: InceptionNet,
    say: Callable[[str], None],
) -> None:
    """True FID of every method with enough pictures; says where there are too few."""
    if len(train) < extract.dims:
        say(f"no FID: {len(train)} training pictures are fewer than its {extract.dims} dimensions")
        return
    reference = extract(train)
    for estimates, one in zip(found, sampled, strict=True):
        if len(one.images) >= extract.dims:
            estimates["fid"] = frechet_estimate(extract(one.images), reference)
        else:
            say(f"no FID of {one.name}: n = {len(one.images)} is under {extract.dims}")


def table(
    sampled: Sequence[Sampled],
    found: Sequence[Mapping[str, Estimate]],
    timings: Mapping[str, Timing],
) -> list[dict[str, Any]]:
    """The rows as JSON values. The untrained model runs the teacher's code: it has no times."""
    rows = [row_of(one, estimates) for one, estimates in zip(sampled, found, strict=True)]
    for row in rows:
        timing = timings.get(row["role"])
        if timing is not None:
            row |= {
                "ms_p50": timing.p50,
                "ms_p95": timing.p95,
                "num_timings": len(timing.ms),
            }
    return rows


def row_of(sampled: Sampled, estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    """One row of the quality table, as JSON values."""
    enough = "fd_lite0" in estimates
    return {
        "name": sampled.name,
        "role": sampled.role,
        "num_inference_steps": sampled.num_steps,
        "n": len(sampled.images),
        "fd_lite0": None,
        **{metric: found.to_dict() for metric, found in estimates.items()},
        "gflops": mean(sampled.gflops),
        "gflops_full": sampled.gflops_full,
        "note": sampled.note if enough else f"{sampled.note}; n too small for fd_lite0".strip("; "),
    }


def flat(row: dict[str, Any]) -> dict[str, Any]:
    """Numbers of one row by name, intervals as `<name>_low` and `<name>_high`.

    `not_finite`, where there are any: metric -> "nan", "inf" or "-inf". A step's result is JSON,
    which has none of them, and a metric that is broken is not one that was left out.
    """
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            found[name] = value["value"]
            found[f"{name}_low"], found[f"{name}_high"] = value["low"], value["high"]
        elif isinstance(value, int | float):
            found[name] = value
    found.setdefault("fd_lite0", None)
    found.setdefault("ms_p50", None)
    if row["gflops_full"]:
        found["compute_ratio"] = row["gflops"] / row["gflops_full"]
    broken = {name: text for name, value in row.items() if (text := not_finite(value))}
    return found | ({"not_finite": broken} if broken else {})
