"""What a sweep has to beat, and how one of its points is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nitrogen.model.pipeline import Pipeline
from nitrogen.model.policies import Static
from nitrogen.pipelines.metrics.psnr import same_seed
from nitrogen.pipelines.precision import autocast, check_device
from nitrogen.pipelines.sampling import Draws, dense_gflops, full_images, mean
from nitrogen.platform.storage_copies import local_copy


def teacher_images(
    teacher: str, drawn: Draws, num_steps: int, solver: str, device: str, precision: str
) -> np.ndarray:
    """uint8 [n, h, w, 3] of a teacher's model directory: what the sweep's distances are taken to.

    Raises ConfigError for a device that is not there.
    """
    pipeline = Pipeline.load(local_copy(teacher)).to(check_device(device))
    with autocast(device, precision):
        return full_images(pipeline.denoiser, drawn, num_steps, solver)


def full_curve(
    teacher: str,
    drawn: Draws,
    reference: np.ndarray,
    steps: tuple[int, ...],
    solver: str,
    device: str = "cpu",
    precision: str = "fp32",
) -> list[dict[str, Any]]:
    """The full model with fewer steps: {num_inference_steps, gflops, distance, label}."""
    pipeline, rows = Pipeline.load(local_copy(teacher)).to(check_device(device)), []
    for num_steps in steps:
        with autocast(device, precision):
            images = full_images(pipeline.denoiser, drawn, num_steps, solver)
        rows.append(
            {
                "num_inference_steps": num_steps,
                "gflops": dense_gflops(pipeline.denoiser, num_steps, solver),
                "distance": mean(same_seed(images, reference).rmse),
                "label": f"{num_steps} steps",
            }
        )
    return rows


def static_curve(
    student: str,
    drawn: Draws,
    reference: np.ndarray,
    num_steps: int,
    solver: str,
    device: str = "cpu",
    precision: str = "fp32",
) -> list[dict[str, Any]]:
    """The student's own slices, the same everywhere: {label, gflops, distance}."""
    pipeline, rows = Pipeline.load(local_copy(student)).to(check_device(device)), []
    pipeline.relay = None  # its own slices, to the end
    for quarters in (1, 2, 3, 4):
        with autocast(device, precision):
            made = pipeline.generate(
                drawn.labels,
                drawn.seeds,
                num_inference_steps=num_steps,
                solver=solver,
                policy=Static(((0.0, quarters),)),
            )
        rows.append(
            {
                "label": f"width {quarters}/4",
                "gflops": mean([s.gflops for s in made.stats]),
                "distance": mean(same_seed(made.images.numpy(), reference).rmse),
            }
        )
    return rows


def pareto_front(points: list[dict[str, Any]]) -> list[int]:
    """Indices of the points that no other beats in both gflops and distance, cheapest first."""
    order = sorted(range(len(points)), key=lambda i: (points[i]["gflops"], points[i]["distance"]))
    front, best = [], float("inf")
    for index in order:
        if points[index]["distance"] < best:
            front.append(index)
            best = points[index]["distance"]
    return front


@dataclass(frozen=True)
class Choice:
    """The point that a sweep takes, and why.

    within: whether it is within the bound; most_distance: the bound, `ratio` times the distance of
    the full model at the student's steps, which is measured on the same seeds as the points.
    """

    point: dict[str, Any]
    within: bool
    ratio: float
    most_distance: float

    @property
    def reason(self) -> str:
        bound = f"{self.most_distance:.3g}, {self.ratio:g} times the full model's distance"
        if self.within:
            return f"the cheapest point within {bound}"
        return f"no point is within {bound}; the nearest was taken"

    def to_dict(self) -> dict[str, Any]:
        return {
            "within": self.within,
            "ratio": self.ratio,
            "most_distance": self.most_distance,
            "reason": self.reason,
        }


def choose(points: list[dict[str, Any]], full_distance: float, ratio: float) -> Choice:
    """The cheapest point within `ratio` times the full model's distance, the nearer of two that
    cost the same. If none is within: the nearest, the cheaper of two that are as near, since
    whoever set the bound asked for quality first; whoever reads of it may raise the bound."""
    most = full_distance * ratio
    within = [p for p in points if p["distance"] <= most]
    if within:
        point = min(within, key=lambda p: (p["gflops"], p["distance"]))
    else:
        point = min(points, key=lambda p: (p["distance"], p["gflops"]))
    return Choice(point, bool(within), ratio, most)
