"""Settings of the two training stages; importable without torch."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class StageConfig(BaseModel):
    """What every training shares; its budget counts images, never seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_images: int = Field(500_000, ge=1)  # images seen in all, over all workers
    batch_size: int = Field(64, ge=1)  # of all workers together
    warmup_images: int = Field(5_000, ge=0)  # linear from 0
    decay_share: float = Field(0.4, ge=0, le=1)  # of num_images, linear to 0 at the end
    weight_decay: float = Field(0.0, ge=0)
    gradient_clip: float = Field(1.0, gt=0)  # norm
    ema_halflife_images: float = Field(20_000, gt=0)
    checkpoint_interval_s: float = Field(60, gt=0)


class OptimConfig(StageConfig):
    """How denoiser and predictor are optimised together, and all that an optimiser may be told."""

    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = Field(1e-3, gt=0)
    predictor_learning_rate: float = Field(5e-3, gt=0)  # of a small MLP that starts from nothing


class TeacherOptimConfig(StageConfig):
    """How a denoiser is optimised that has no predictor yet."""

    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = Field(1e-3, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _no_predictor(cls, given: Any) -> Any:
        why = "pretraining has no predictor. Set distill.optim.predictor_learning_rate."
        return without(given, OptimConfig, {"predictor_learning_rate": why})


class PredictorOptimConfig(StageConfig):
    """How a predictor is optimised whose denoiser stays as it is."""

    predictor_learning_rate: float = Field(5e-3, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _no_denoiser(cls, given: Any) -> Any:
        rate = "a trial trains the predictor alone. Set sweep.optim.predictor_learning_rate."
        other = "a trial trains the predictor alone, always by AdamW. Leave it out."
        return without(given, OptimConfig, {"learning_rate": rate, "optimizer": other})


def without(given: Any, full: type[BaseModel], absent: Mapping[str, str]) -> Any:
    """What a recipe says of a section, less the keys that `full` has and this one has not.

    absent: name -> why it would do nothing, and what to do. Raises ValueError for such a key,
    unless it has its default: recipes were stored with them.
    """
    if not isinstance(given, Mapping):
        return given
    for name in absent.keys() & given.keys():
        if given[name] != full.model_fields[name].default:
            raise ValueError(f"{name} must be left out, got {given[name]}: {absent[name]}")
    return {name: value for name, value in given.items() if name not in absent}


class NoiseConfig(BaseModel):
    """Noise levels and label dropout of pretraining."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    p_mean: float = -1.0  # of ln sigma; EDM's -1.2 is for photographs
    p_std: float = Field(1.4, gt=0)
    label_dropout: float = Field(0.1, ge=0, le=1)  # share of images trained without a label


class PredictionConfig(BaseModel):
    """How roll-outs and the predictor's loss are made up."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gating_temperature: float = Field(1.0, gt=0)  # of softmax(gain / tau), gains of unit mean
    predictor_weight: float = Field(0.1, gt=0)
    held_share: float = Field(0.3, ge=0, lt=1)  # of the regions in random plans
    on_policy_share: float = Field(0.5, ge=0, le=1)  # of the plans, after the first quarter
    label_dropout: float = Field(0.1, ge=0, le=1)
    num_substeps: int = Field(4, ge=1, le=16)  # evaluations of the teacher within a strided step
    rollout_steps: int = Field(2, ge=0, le=2)  # at most; 0: no stale cache, nothing held before
    # Sigma grids of the roll-outs, which take up to 2 steps and look one ahead.
    num_steps: tuple[Annotated[int, Field(ge=3, le=1000)], ...] = Field(
        (8, 10, 12, 16), min_length=1
    )


class StudentConfig(PredictionConfig):
    """Weights of the terms of distillation."""

    gating_penalty: float = Field(0.0, ge=0)  # price of a full region's compute
    narrow_weight: float = Field(1.0, ge=0)  # of the narrow widths, against the full one's 1
    stale_weight: float = Field(1.0, ge=0)  # of the random plan over a stale cache
    weight_tilt: float = Field(0.0, ge=0, le=1)  # of the loss toward high noise: times sigma^tilt
    strided: bool = False  # D is to land where the teacher's ODE lands at the next sigma
    stride_sigma_min: float | None = Field(0.15, gt=0, lt=80)  # of its noise levels; see ArchConfig
    distilled: bool = True  # False: D is pulled to x_0 at fresh noise; for the ablation
    same_noise: bool = True  # False: narrow widths answer other noise than the full one; likewise
    train_denoiser: bool = True  # False: only the predictor learns, as in the sweep's trials

    @model_validator(mode="after")
    def _landing_needs_a_teacher(self) -> Self:
        if self.strided and not self.distilled:
            raise ValueError(
                "strided must be false where distilled is, got true: where a step lands is known "
                "by the teacher alone. Leave one of them out."
            )
        return self


FROZEN = (
    "stride_sigma_min",
    "narrow_weight",
    "stale_weight",
    "weight_tilt",
    "distilled",
    "same_noise",
)


class TrialConfig(PredictionConfig):
    """The same for a trial of the sweep, whose denoiser is as it was distilled."""

    @model_validator(mode="before")
    @classmethod
    def _as_distilled(cls, given: Any) -> Any:
        frozen = "a trial trains the predictor alone. Set it in distill.student."
        return without(
            given,
            StudentConfig,
            {
                "gating_penalty": "the sweep draws it. Set sweep.space.gating_penalty.",
                "strided": "a student stays as it was distilled. Set distill.student.strided.",
                **dict.fromkeys(FROZEN, frozen),
                "train_denoiser": "a trial trains the predictor alone. Leave it out.",
            },
        )
