"""The models of one evaluation, and the pictures that each draws from the same seeds and labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nitrogen.model.denoiser import Denoiser
from nitrogen.model.generation import SampleStats
from nitrogen.model.pipeline import Pipeline
from nitrogen.pipelines.data.loader import ShardDataset
from nitrogen.pipelines.kept_batches import KeptBatches
from nitrogen.pipelines.precision import autocast, check_device
from nitrogen.pipelines.sampling import (
    Draws,
    OperatingPoint,
    dense_gflops,
    full_images,
    student_images,
)

if TYPE_CHECKING:
    from nitrogen.pipelines.context import Progress
    from nitrogen.pipelines.steps.evaluate import EvaluateConfig

REFERENCE_STEPS, REFERENCE_SOLVER = 50, "euler"


@dataclass(frozen=True)
class Bench:
    """The models and pictures of one evaluation."""

    teacher: Pipeline
    student: Pipeline
    untrained: Denoiser
    point: OperatingPoint
    train: ShardDataset
    test: ShardDataset
    seed: int
    device: str = "cpu"
    precision: str = "fp32"  # of sampling

    @classmethod
    def load(
        cls, *, data_uri: str, teacher: Path, student: Path, chosen: dict[str, Any], seed: int,
        device: str = "cpu", precision: str = "fp32",
    ) -> Bench:  # fmt: skip
        """Raises WeightsError or DataError for what cannot be read, ConfigError for a device that
        is not there."""
        import torch

        teacher_pipeline = Pipeline.load(teacher).to(check_device(device))
        torch.manual_seed(seed)
        return cls(
            teacher_pipeline,
            Pipeline.load(student).to(device),
            Denoiser(teacher_pipeline.arch).eval().requires_grad_(False).to(device),
            OperatingPoint(**chosen),
            ShardDataset(data_uri, "train"),
            ShardDataset(data_uri, "test"),
            seed,
            device,
            precision,
        )


@dataclass(frozen=True)
class Sampled:
    """A method's pictures uint8 [n, h, w, 3] and its GFLOPs for each."""

    name: str
    role: str
    images: np.ndarray
    gflops: list[float]
    gflops_full: float
    num_steps: int
    note: str = ""
    stats: Sequence[SampleStats] = ()  # of each picture, for adaptive methods


def sample_all(
    config: EvaluateConfig, bench: Bench, drawn: Draws, progress: Progress, folder: Path
) -> list[Sampled]:
    """Teacher, student, untrained, and the article's reference, in this order.

    folder: keeps batches of each, for when this is cut off; the caller removes it.
    """
    kept = {who: KeptBatches(folder / who) for who in ("teacher", "student", "untrained", "ddim")}

    def shown(name: str, total: int) -> Callable[[int], None]:
        progress.message(f"sampling {total} pictures: {name}")
        return lambda done: progress.update(step=done, total=total)

    steps, solver, num, point = config.num_inference_steps, config.solver, len(drawn), bench.point
    network = bench.teacher.denoiser
    few = Draws(drawn.labels[: config.num_reference], drawn.seeds[: config.num_reference])
    with autocast(bench.device, bench.precision):
        teacher = full_images(network, drawn, steps, solver, shown("teacher", num), kept["teacher"])
        student, stats = student_images(
            bench.student, point, drawn, shown("student", num), kept["student"]
        )
        untrained = full_images(
            bench.untrained, drawn, steps, solver, shown("untrained", num), kept["untrained"]
        )
        reference = full_images(
            network, few, REFERENCE_STEPS, REFERENCE_SOLVER, shown("DDIM, 50 steps", len(few)),
            kept["ddim"],
        )  # fmt: skip
    full = dense_gflops(network, steps, solver)
    ddim = dense_gflops(network, REFERENCE_STEPS, REFERENCE_SOLVER)
    return [
        Sampled("teacher", "teacher", teacher, [full] * num, full, steps),
        Sampled(
            f"student, {point.label}", "student", student, [s.gflops for s in stats],
            stats[0].gflops_full, point.num_inference_steps, stats=stats,
        ),
        Sampled("untrained", "untrained", untrained, [full] * num, full, steps),
        Sampled(
            "teacher, DDIM (Euler)", "reference", reference, [ddim] * len(few), ddim,
            REFERENCE_STEPS, "the article's reference sampler",
        ),
    ]  # fmt: skip
