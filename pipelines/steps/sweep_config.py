"""The `sweep:` section of a recipe, and what of it must fit the student."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from nitrogen.pipelines.sampling import SolverName
from nitrogen.pipelines.training.config import PredictorOptimConfig, TrialConfig
from nitrogen.platform.errors import ConfigError
from nitrogen.platform.sweep_space import distributions

SEARCHED = ("gating_penalty", "threshold")


class SweepConfig(BaseModel):
    """The `sweep:` section of a recipe.

    space               what the search draws: gating_penalty (trained for) and threshold
    thresholds, budgets scored inside every trial; they cost no training
    optim, student      of the predictor's tuning in a trial; the denoiser is as it was distilled
    reference_steps     of the teacher's run that distances are taken to
    schedule_moves      changes that the search for schedules of widths tries for each budget (they
                        are what policy `static` plays); 0 searches none
    max_distance_ratio  the chosen point is the cheapest whose distance is at most this times the
                        full model's at num_inference_steps; the nearest one if none is
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_trials: int = Field(4, ge=1, le=1000)
    max_concurrent: int = Field(1, ge=1)
    space: dict[str, Any] = Field(
        default_factory=lambda: {
            "gating_penalty": {"low": 1e-3, "high": 0.3, "log": True},
            "threshold": {"low": 1e-4, "high": 3e-2, "log": True},
        }
    )
    thresholds: tuple[Annotated[float, Field(ge=0, le=4)], ...] = (3e-4, 1e-3, 3e-3, 1e-2)
    budgets: tuple[Annotated[float, Field(gt=0, le=2)], ...] = (0.5, 0.6, 0.7, 0.8)
    student: TrialConfig = TrialConfig()
    optim: PredictorOptimConfig = PredictorOptimConfig(num_images=6_000, warmup_images=500)
    num_images: int = Field(64, ge=4)  # seeds that every setting is scored on
    num_inference_steps: int = Field(12, ge=2, le=1000)
    solver: SolverName = "dpmpp_2m"
    reference_steps: int = Field(32, ge=4, le=1000)
    full_steps: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = Field(
        (4, 6, 8, 10, 12), min_length=1
    )
    schedule_moves: int = Field(0, ge=0, le=1000)
    max_distance_ratio: float = Field(3.0, gt=0)
    prune: bool = True

    @field_validator("space")
    @classmethod
    def _known(cls, space: dict[str, Any]) -> dict[str, Any]:
        if set(space) != set(SEARCHED):
            raise ValueError(
                f"space must name {' and '.join(SEARCHED)}, got {', '.join(space) or 'nothing'}. "
                "Give a fixed value as choices with one entry."
            )
        try:
            distributions(space)
        except ConfigError as error:  # its own path is the field's, which pydantic adds
            raise ValueError(str(error).removeprefix("space.")) from error
        return space


def check_budgets(config: SweepConfig, arch: dict[str, Any]) -> None:
    """Raises ConfigError for a budget below the cheapest plan, before anything is trained.

    arch: the student's, which is what the trials sample, by its own solver.
    """
    from nitrogen.model.budget import Ledger
    from nitrogen.model.config import ArchConfig
    from nitrogen.model.cost import CostModel
    from nitrogen.model.errors import BudgetError
    from nitrogen.model.predictor import predictor_flops
    from nitrogen.model.solvers import solver_for

    shape = ArchConfig(**arch)
    cost = CostModel(shape, shape.image_size, shape.image_size)
    heun = solver_for(shape.strided, config.solver) == "heun"
    predictor = predictor_flops(shape, cost.num_regions)
    ledger = Ledger(cost, config.num_inference_steps, False, heun, predictor)
    for budget in config.budgets:
        try:
            ledger.ceiling(budget)
        except BudgetError as error:
            raise ConfigError(f"sweep.budgets: {error}") from None
