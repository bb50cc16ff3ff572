"""Settings of the two training stages; importable without torch."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class OptimConfig(BaseModel):
    """How a stage is optimised; its budget counts images, never seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_images: int = Field(500_000, ge=1)  # images seen in all, over all workers
    batch_size: int = Field(64, ge=1)  # of all workers together
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = Field(1e-3, gt=0)
    predictor_learning_rate: float = Field(5e-3, gt=0)  # of a small MLP that starts from nothing
    warmup_images: int = Field(5_000, ge=0)  # linear from 0
    decay_share: float = Field(0.4, ge=0, le=1)  # of num_images, linear to 0 at the end
    weight_decay: float = Field(0.0, ge=0)
    gradient_clip: float = Field(1.0, gt=0)  # norm
    ema_halflife_images: float = Field(20_000, gt=0)
    checkpoint_interval_s: float = Field(60, gt=0)


class NoiseConfig(BaseModel):
    """Noise levels and label dropout of pretraining."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    p_mean: float = -1.0  # of ln sigma; EDM's -1.2 is for photographs
    p_std: float = Field(1.4, gt=0)
    label_dropout: float = Field(0.1, ge=0, le=1)  # share of images trained without a label


class StudentConfig(BaseModel):
    """Weights of the terms of distillation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gating_penalty: float = Field(0.0, ge=0)  # price of a full region's compute
    gating_temperature: float = Field(1.0, gt=0)  # of softmax(gain / tau), gains of unit mean
    predictor_weight: float = Field(0.1, gt=0)
    narrow_weight: float = Field(1.0, ge=0)  # of the narrow widths, against the full one's 1
    stale_weight: float = Field(1.0, ge=0)  # of the random plan over a stale cache
    held_share: float = Field(0.3, ge=0, lt=1)  # of the regions in random plans
    on_policy_share: float = Field(0.5, ge=0, le=1)  # of the plans, after the first quarter
    label_dropout: float = Field(0.1, ge=0, le=1)
    strided: bool = False  # D is to land where the teacher's ODE lands at the next sigma
    num_substeps: int = Field(2, ge=1, le=8)  # of the teacher within a strided step, by Heun
    train_denoiser: bool = True  # False: only the predictor learns, as in the sweep's trials
    # Sigma grids of the roll-outs, which take up to 2 steps and look one ahead.
    num_steps: tuple[Annotated[int, Field(ge=3, le=1000)], ...] = Field(
        (8, 10, 12, 16), min_length=1
    )
