"""Pretrain: the full-capacity teacher, through Ray Train."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from nitrogen.pipelines.training.config import NoiseConfig, TeacherOptimConfig
from nitrogen.platform.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from nitrogen.model.config import ArchConfig
    from nitrogen.pipelines.context import StepContext

TRAIN_FN = "nitrogen.pipelines.training.teacher:train_teacher"
IMAGES_PER_S = {"tiny": 300.0, "small": 110.0, "base": 10.0}  # 2 cores, two workers; for --plan


class PretrainConfig(BaseModel):
    """The `pretrain:` section of a recipe.

    preset  size of the network; arch replaces single fields of it
    start   model directory whose denoiser to go on from (`shipped` for the weights that ship,
            `shipped:fashion` for those of another data set than emoji32); the optimiser starts
            anew, so keep warmup_images above 0
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str = "tiny"
    arch: dict[str, Any] = Field(default_factory=dict)
    start: str | None = None
    noise: NoiseConfig = NoiseConfig()
    optim: TeacherOptimConfig = TeacherOptimConfig()

    @field_validator("preset")
    @classmethod
    def _known_preset(cls, name: str) -> str:
        from nitrogen.model.config import PRESETS

        if name not in PRESETS:
            raise ValueError(
                f"preset must be one of {', '.join(PRESETS)}, got {name!r}. Correct the name."
            )
        return name

    @field_validator("arch")
    @classmethod
    def _known_fields(cls, arch: dict[str, Any]) -> dict[str, Any]:
        from nitrogen.model.config import ArchConfig

        unknown = sorted(set(arch) - set(ArchConfig.model_fields))
        if unknown:
            raise ValueError(
                f"arch must hold known keys, got {', '.join(unknown)}. "
                f"Known here: {', '.join(ArchConfig.model_fields)}."
            )
        if arch.get("layer_width"):
            raise ValueError(
                f"arch must not hold layer_width, got {arch['layer_width']}: training is dense and "
                "would not be bounded by it. Leave it out."
            )
        return arch

    @model_validator(mode="after")
    def _fits(self) -> PretrainConfig:
        from nitrogen.model.config import preset

        try:
            preset(self.preset, **self.arch)
        except ValidationError as error:
            raise ValueError(wrong_arch(error)) from None
        return self


def fingerprint(config: PretrainConfig) -> dict[str, Any]:
    """What the step reads from outside the recipe: the weights it goes on from."""
    start = start_weights(config)
    return {"start": hashlib.sha256(start.read_bytes()).hexdigest()} if start else {}


def start_weights(config: PretrainConfig) -> Path | None:
    """The weights file to go on from. Raises ConfigError for a folder that holds no model."""
    from nitrogen.pipelines.trained_models import model_directory, shipped_name

    if config.start is None:
        return None
    directory = Path(config.start)
    if shipped_name(directory) is not None:
        directory = model_directory(directory, "teacher")
    weights = directory.absolute() / "model.safetensors"
    if not weights.is_file():
        raise ConfigError(
            f"pretrain.start must be a model directory or `shipped`, got {config.start} (it has no "
            "model.safetensors). Name the teacher folder of a run's pretrain step."
        )
    return weights


def run(config: PretrainConfig, context: StepContext) -> dict[str, Any]:
    """Returns teacher (directory), preset, parameters, num_images, seconds, history, samples."""
    from nitrogen.pipelines.training.launch import curve, launch

    prepared = context.inputs["prepare"]
    arch, start = architecture(config, prepared), start_weights(config)
    result = launch(
        TRAIN_FN,
        {
            "arch": arch.model_dump(mode="json"),
            "noise": config.noise.model_dump(mode="json"),
            "optim": config.optim.model_dump(mode="json"),
            "data_uri": context.for_workers(prepared["data_uri"]),
            "seed": context.seed,
            "precision": context.settings.precision,
            "start": context.for_workers(start) if start else None,
        },
        context,
    )
    if result.stopped:
        raise TrainingError("pretraining must run to its end, got a stop. Run again to go on.")
    model = save_teacher(arch, prepared["classes"], result.checkpoint, Path(context.dir))
    return {
        "teacher": model,
        "preset": config.preset,
        "parameters": num_parameters(arch),
        "num_images": config.optim.num_images,
        "seconds": result.metrics.get("seconds"),
        "history": curve(result.history),
        "samples": "samples.png",
    }


def architecture(config: PretrainConfig, prepared: Any) -> ArchConfig:
    """The preset for this data set. Raises ConfigError for pictures it cannot be made for."""
    from nitrogen.model.config import preset

    height, width = prepared["image_size"]
    if height != width:
        raise ConfigError(
            f"prepare.image_size must be square, got {height}x{width}. Set prepare.image_size."
        )
    facts = {"image_size": height, "num_classes": prepared["num_classes"]}
    try:
        arch = preset(config.preset, **{**facts, **config.arch})
    except ValidationError as error:
        raise ConfigError(f"pretrain.{wrong_arch(error)}") from None
    if height % arch.region_px:
        raise ConfigError(
            f"prepare.image_size must be a multiple of {arch.region_px} px for preset "
            f"{config.preset}, got {height}. Set prepare.image_size: "
            f"{max(arch.region_px, round(height / arch.region_px) * arch.region_px)}."
        )
    return arch


def wrong_arch(error: ValidationError) -> str:
    """What is wrong with a network, from pydantic's first finding."""
    problem = error.errors()[0]
    field = ".".join(["arch", *(str(part) for part in problem["loc"])])
    what = str(problem["msg"]).removeprefix("Value error, ")
    got = f", got {problem['input']!r}" if problem["loc"] else ""
    return f"{field} must fit a network: {what}{got}. Correct it or leave it out."


def save_teacher(arch: ArchConfig, classes: list[str], checkpoint: Path, directory: Path) -> str:
    """Saves the averaged weights as a model directory; returns its name."""
    import shutil

    import torch

    from nitrogen.model.denoiser import Denoiser
    from nitrogen.model.pipeline import Pipeline
    from nitrogen.model.weights import load_into, load_tensors
    from nitrogen.pipelines.training.state import TENSORS

    denoiser = Denoiser(arch)
    with torch.no_grad():
        load_into(denoiser, load_tensors(checkpoint / TENSORS), "ema.")
    Pipeline(denoiser, classes).save(directory / "teacher", torch.float32, role="teacher")
    if (checkpoint / "samples.png").is_file():
        shutil.copyfile(checkpoint / "samples.png", directory / "samples.png")
    return "teacher"


def num_parameters(arch: ArchConfig) -> int:
    from nitrogen.model.unet import count_parameters

    return count_parameters(arch)


def estimate_seconds(config: PretrainConfig) -> float:
    """Rough time on 2 cores, for `--plan`."""
    return 45 + config.optim.num_images / IMAGES_PER_S.get(config.preset, 1.0)
