"""Distill: the student learns all widths and the predictor its gains, through Ray Train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from nitrogen.pipelines.training.config import OptimConfig, StudentConfig
from nitrogen.platform.errors import TrainingError

if TYPE_CHECKING:
    from nitrogen.pipelines.context import StepContext

TRAIN_FN = "nitrogen.pipelines.training.student:train_student"
IMAGES_PER_S = 70.0  # tiny, 2 cores; for --plan


class DistillConfig(BaseModel):
    """The `distill:` section of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    student: StudentConfig = StudentConfig()
    optim: OptimConfig = OptimConfig(num_images=100_000, learning_rate=5e-4)


def run(config: DistillConfig, context: StepContext) -> dict[str, Any]:
    """Returns student (directory), num_images, history."""
    import json

    from nitrogen.model.pipeline import CONFIG, WEIGHTS
    from nitrogen.pipelines.training.launch import curve, launch

    prepared, teacher = context.inputs["prepare"], context.inputs["pretrain"]
    directory = Path(teacher.dir) / teacher["teacher"]
    described = json.loads((directory / CONFIG).read_text())
    result = launch(
        TRAIN_FN,
        {
            "arch": described["arch"],
            "student": config.student.model_dump(mode="json"),
            "optim": config.optim.model_dump(mode="json"),
            "data_uri": context.for_workers(prepared["data_uri"]),
            "seed": context.seed,
            "precision": context.settings.precision,
            "teacher": context.for_workers(directory / WEIGHTS),
        },
        context,
    )
    if result.stopped:
        raise TrainingError("distillation must run to its end, got a stop. Run again to go on.")
    save_student(described, config.student, result.checkpoint, Path(context.dir) / "student")
    return {
        "student": "student",
        "num_images": config.optim.num_images,
        "history": curve(result.history),
    }


def save_student(
    described: dict[str, Any], config: StudentConfig, checkpoint: Path, directory: Path
) -> None:
    """Saves the averaged student and its predictor as a model directory.

    described: the teacher's config.json.
    """
    import torch

    from nitrogen.model.config import ArchConfig
    from nitrogen.model.pipeline import Pipeline
    from nitrogen.model.weights import load_into, load_tensors
    from nitrogen.pipelines.training.state import TENSORS
    from nitrogen.pipelines.training.student import Student, student_arch

    student = Student(student_arch(ArchConfig(**described["arch"]), config))
    with torch.no_grad():
        load_into(student, load_tensors(checkpoint / TENSORS), "ema.")
    pipeline = Pipeline(student.denoiser, described["classes"], student.predictor)
    pipeline.save(directory, torch.float32, role="student")


def estimate_seconds(config: DistillConfig) -> float:
    """Rough time on 2 cores, for `--plan`."""
    return 45 + config.optim.num_images / IMAGES_PER_S
