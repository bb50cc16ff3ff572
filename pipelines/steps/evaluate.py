"""Evaluate: teacher, student and untrained model on seeds and a split the sweep never saw."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from nitrogen.pipelines.context import SilentProgress
from nitrogen.pipelines.placement import beside_gpu, here
from nitrogen.pipelines.sampling import SolverName
from nitrogen.platform import storage

if TYPE_CHECKING:
    from nitrogen.pipelines.context import StepContext


FID_IMAGES = 2048  # its feature dimensions: fewer pictures give no covariance


class EvaluateConfig(BaseModel):
    """The `evaluate:` section of a recipe.

    num_images        samples of each model for the distances
    num_reference     samples of the article's reference row, DDIM with 50 steps
    num_calibration   of them, pictures whose predicted residuals are held against the true ones
    fid               true FID too (minutes; needs the Inception weights and 2,048 pictures)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_images: int = Field(2048, ge=16)
    num_reference: int = Field(256, ge=16)
    num_inference_steps: int = Field(12, ge=1, le=1000)
    solver: SolverName = "dpmpp_2m"
    num_calibration: int = Field(64, ge=0)
    num_timings: int = Field(20, ge=3)
    fid: bool = False

    @model_validator(mode="after")
    def _enough_for_fid(self) -> EvaluateConfig:
        if self.fid and self.num_images < FID_IMAGES:
            raise ValueError(
                f"num_images must be at least {FID_IMAGES} for fid, got {self.num_images}. "
                "Raise it, or leave fid out."
            )
        return self


def run(config: EvaluateConfig, context: StepContext) -> dict[str, Any]:
    """Returns rows, claims, speedup, command, commit, teacher, student, untrained, neighbours,
    calibration, samples_file, images."""
    from nitrogen.pipelines.evaluation.measure import measure_models

    inputs, settings = context.inputs, context.settings
    remote = not here(settings)
    workers = context.for_workers if remote else str
    models = {
        "data_uri": workers(inputs["prepare"]["data_uri"]),
        "teacher": workers(Path(inputs["pretrain"].dir) / inputs["pretrain"]["teacher"]),
        "student": workers(Path(inputs["sweep"].dir) / inputs["sweep"]["student"]),
        "chosen": inputs["sweep"]["chosen"]["settings"],
        "seed": context.seed,
        "device": settings.device,
        "precision": settings.sampling_precision,
    }
    folder = context.of_workers("measured") if remote else str(context.dir)
    progress = SilentProgress() if remote else context.progress
    result = beside_gpu(settings, partial(measure_models, config, models, folder, progress))
    if remote:
        for name in storage.list_files(folder):
            storage.download(storage.join(folder, name), Path(context.dir) / name)
    result["images"] = [str(Path(context.dir) / name) for name in result["images"]]
    result["command"] = command(context)
    if context.tracker is not None and context.run_id is not None:
        numbers = {
            f"{who}_{name}": value
            for who in ("teacher", "student", "untrained")
            for name, value in result[who].items()
            if isinstance(value, int | float)
        }
        context.tracker.log_metrics(context.run_id, numbers)
        for image in result["images"]:
            context.tracker.log_artifact(context.run_id, image, "samples")
    return result


def command(context: StepContext) -> str:
    """What makes the claims again: the run folder keeps its recipe with every override."""
    folder = shlex.quote(f"{context.run_dir}/")  # so that it follows a folder that is moved
    recipe = shlex.quote(str(Path(context.run_dir) / "recipe.json"))
    return f"nitrogen evaluate {recipe} --out {folder} --force"


def estimate_seconds(config: EvaluateConfig) -> float:
    """Rough time on 2 cores with preset tiny, for `--plan`."""
    return 20 + 3 * config.num_images * 0.013
