"""The pictures of an evaluation: pairs, heatmaps, neighbours, and grids as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nitrogen.pipelines.report.data import Samples
from nitrogen.pipelines.report.data_checks import NeighbourRows
from nitrogen.pipelines.report.samples_file import save_samples
from nitrogen.pipelines.sampling import Draws
from nitrogen.pipelines.training.preview import tile_grid

if TYPE_CHECKING:
    from nitrogen.model.generation import SampleStats
    from nitrogen.pipelines.evaluation.samples import Bench
    from nitrogen.pipelines.metrics.neighbours import Neighbours

NUM_SHOWN, NUM_HEATMAPS, GRID_COLUMNS, GRID_SCALE = 24, 4, 8, 3


def save_pictures(
    bench: Bench,
    drawn: Draws,
    teacher: np.ndarray,
    student: np.ndarray,
    stats: Sequence[SampleStats],
    neighbours: Neighbours,
    directory: Path,
) -> dict[str, Any]:
    """Writes samples.npz, teacher.png and student.png; returns samples_file and images."""
    num = min(NUM_SHOWN, len(drawn))
    point, steps = bench.point, bench.point.num_inference_steps
    policy = bench.student.policy(point.policy, point.threshold, point.budget, steps)
    shown = Samples(
        teacher=teacher[:num],
        student=student[:num],
        labels=[bench.student.classes[label] for label in drawn.labels[:num]],
        seeds=drawn.seeds[:num],
        heatmaps=np.stack([s.heatmap.numpy() for s in stats[:NUM_HEATMAPS]]),
        sigmas=bench.student.sigmas(policy, steps, point.budget).tolist(),
        active_fraction=[s.active_fraction for s in stats[:num]],
    )
    near = neighbours.by_features.indices
    rows = NeighbourRows(
        samples=student[: len(near)],
        by_features=bench.train.images[near],
        by_pixels=bench.train.images[neighbours.by_pixels.indices],
    )
    save_samples(directory / "samples.npz", shown, rows)
    images = []
    for name, pictures in (("teacher", teacher), ("student", student)):
        path = directory / f"{name}.png"
        whole = num - num % GRID_COLUMNS or num
        x_0 = torch.as_tensor(pictures[:whole]).float() / 127.5 - 1
        tile_grid(x_0, min(GRID_COLUMNS, num), GRID_SCALE).save(path)
        images.append(path.name)
    return {"samples_file": "samples.npz", "images": images}
