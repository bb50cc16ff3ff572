"""Distill: the student learns all widths and the predictor its gains, through Ray Train."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from nitrogen.model.leg import MAX_RELAYS, MAX_ROWS, Leg
from nitrogen.pipelines.training.config import OptimConfig, StudentConfig
from nitrogen.platform.errors import TrainingError

if TYPE_CHECKING:
    from nitrogen.pipelines.context import StepContext

TRAIN_FN = "nitrogen.pipelines.training.student:train_student"
IMAGES_PER_S = 70.0  # tiny, 2 cores; for --plan


LegRows = Annotated[dict[int, tuple[int, float, float, float]], Field(max_length=MAX_ROWS)]


class DistillConfig(BaseModel):
    """The `distill:` section of a recipe.

    relay   of a strided student: by the number of steps from which on it holds, how many strides it
            takes, the sigma at which the teacher takes over, its sigma_min and its rho
    cheaper_relays  others, of more strides, for budgets that do not pay for the one before
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    student: StudentConfig = StudentConfig()
    optim: OptimConfig = OptimConfig(num_images=100_000, learning_rate=5e-4)
    relay: LegRows = {}
    cheaper_relays: list[LegRows] = Field([], max_length=MAX_RELAYS - 1)

    @model_validator(mode="after")
    def _relay_can_run(self) -> Self:
        if self.relay and not self.student.strided:
            raise ValueError("relay must be empty unless student.strided is true. Set either.")
        if self.cheaper_relays and not self.relay:
            raise ValueError("cheaper_relays must be empty unless there is a relay. Name it relay.")
        if not all(self.cheaper_relays):
            raise ValueError("cheaper_relays must have rows each, got an empty one. Remove it.")
        cheaper = [(f"cheaper_relays[{i}]", rows) for i, rows in enumerate(self.cheaper_relays)]
        named = [("relay", self.relay), *cheaper]
        for name, rows in named:
            bad = [steps for steps, leg in rows.items() if not Leg(*leg).can_run(steps)]
            if bad:
                raise ValueError(
                    f"{name} must have 1 to steps - 1 strides, at most 100, 1e-4 <= sigma_min <= "
                    f"0.9 sigma, sigma < 80 and rho of 1 to 100, got {rows[bad[0]]} for {bad[0]} "
                    "steps. Correct the row."
                )
        for (above, dearer), (name, rows) in pairwise(named):
            same = [n for n in dearer.keys() & rows.keys() if rows[n][0] <= dearer[n][0]]
            if same:
                raise ValueError(
                    f"{name} must have more strides than {above} at as many steps, got "
                    f"{rows[same[0]][0]} after {dearer[same[0]][0]} for {same[0]} steps. "
                    "Give it more, or exchange the rows."
                )
        return self


def run(config: DistillConfig, context: StepContext) -> dict[str, Any]:
    """Returns student (directory), num_images, history."""
    import json

    from nitrogen.model.config_file import CONFIG
    from nitrogen.model.model_directory import WEIGHTS
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
            "relay": relay_of(config),
        },
        context,
    )
    if result.stopped:
        raise TrainingError("distillation must run to its end, got a stop. Run again to go on.")
    save_student(
        described, config.student, result.checkpoint, Path(context.dir) / "student",
        relay_of(config), directory / WEIGHTS,
    )  # fmt: skip
    return {
        "student": "student",
        "num_images": config.optim.num_images,
        "history": curve(result.history),
    }


def relay_of(config: DistillConfig) -> dict[str, Any] | None:
    """As config.json has it; None for no rows."""
    relay: dict[str, Any] | None = None
    for rows in [*reversed(config.cheaper_relays), config.relay]:
        if rows:
            legs = {str(steps): list(leg) for steps, leg in rows.items()}
            relay = {"legs": legs} | ({"cheaper": relay} if relay else {})
    return relay


def save_student(
    described: dict[str, Any],
    config: StudentConfig,
    checkpoint: Path,
    directory: Path,
    relay: dict[str, Any] | None = None,
    teacher: Path | None = None,
) -> None:
    """Saves the averaged student and its predictor as a model directory.

    described: the teacher's config.json; relay: of config.json, whose late steps are taken by the
    network of the weights file `teacher`.
    """
    import torch

    from nitrogen.model.config import ArchConfig
    from nitrogen.model.model_directory import load_relay
    from nitrogen.model.pipeline import Pipeline
    from nitrogen.model.weights import load_into, load_tensors
    from nitrogen.pipelines.training.state import TENSORS
    from nitrogen.pipelines.training.student import Student, student_arch

    student = Student(student_arch(ArchConfig(**described["arch"]), config))
    with torch.no_grad():
        load_into(student, load_tensors(checkpoint / TENSORS), "ema.")
    late = None
    if relay:
        assert teacher is not None, "a relay is of a teacher"
        late = load_relay(teacher, student.denoiser.arch, relay)
    pipeline = Pipeline(student.denoiser, described["classes"], student.predictor, relay=late)
    pipeline.save(directory, torch.float32, role="student")


def estimate_seconds(config: DistillConfig) -> float:
    """Rough time on 2 cores, for `--plan`."""
    return 45 + config.optim.num_images / IMAGES_PER_S
