"""Schedules of widths for the student that a sweep chose: what its policy `static` plays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from nitrogen.model.pipeline import Pipeline
from nitrogen.model.width_table import WidthTable
from nitrogen.pipelines.bench.width_search import WidthSearch
from nitrogen.pipelines.precision import autocast
from nitrogen.pipelines.sampling import Draws
from nitrogen.platform.storage_copies import local_copy


def searched(
    student: str | Path,
    drawn: Draws,
    images: np.ndarray,
    num_steps: int,
    num_moves: int,
    device: str,
    precision: str,
) -> WidthTable:
    """The best schedules of num_steps on the sweep's seeds, num_moves changes tried for a budget.

    student: its model directory, a path or URI; images: the teacher's, uint8 [n, h, w, 3].
    """
    pipeline = Pipeline.load(local_copy(str(student))).to(device)
    target = torch.from_numpy(images).to(device).float() / 127.5 - 1
    with autocast(device, precision):
        return WidthSearch(pipeline, drawn, target, num_moves).table([num_steps])
