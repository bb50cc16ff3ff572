"""The rows of the benchmark: which methods at which settings, in full and in `--quick`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel, ConfigDict, Field

from nitrogen.pipelines.bench.controls import CONTROLS, Trace
from nitrogen.pipelines.bench.methods import Method, slices
from nitrogen.pipelines.bench.models import Models
from nitrogen.pipelines.bench.tuning import SOLVER, budget_method, schedule_method

STEPS = (4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 25, 32, 50)


class FrontierConfig(BaseModel):
    """How large the benchmark is.

    num_images      seeds of every row; fd_lite0 needs 1,280 or more
    num_headline    seeds of the rows marked as headline (each tier of ours, its teacher)
    num_tune        validation seeds that schedules and budgets are tuned on
    num_moves       changes that the search over static schedules tries, for each tier
    num_priced      settings of ours that the planner by price is tried on, for each tier
    rounds          timed calls of each row, at each batch size
    guidance        of the guided rows; 0 leaves them out
    exit_images     pictures, exit_steps of Euler: forward passes saved by exit alone
    num_calibration pictures of each split; calibration_eps: bounds on a region's mean squared
                    error; calibration_delta: how many exits may be above
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_images: int = Field(1536, ge=4)
    num_headline: int = Field(5000, ge=4)
    num_tune: int = Field(64, ge=4)
    num_moves: int = Field(80, ge=0)
    num_priced: int = Field(2, ge=0)
    tune_steps: tuple[int, ...] = (5, 6, 7, 8, 10, 12, 14)
    rounds: int = Field(40, ge=2)
    batches: tuple[int, ...] = (1, 8)
    teacher_steps: dict[str, tuple[int, ...]] = Field(
        default_factory=lambda: {
            "euler": (4, 6, 8, 10, 12, 16, 20, 25, 32, 50),
            "heun": (4, 5, 6, 8, 10, 12, 16, 25),
            "dpmpp_2m": STEPS,
            "unipc": STEPS,
        }
    )
    static_steps: tuple[int, ...] = (6, 8, 10, 12, 16)
    cache_steps: tuple[int, ...] = (8, 10, 12, 16, 20)
    tea_thresholds: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2)
    ras_shares: tuple[float, ...] = (0.25, 0.5, 0.75)
    budgets: tuple[float, ...] = (0.3, 0.45, 0.6, 0.8)
    thresholds: tuple[float, ...] = (3e-5, 1e-4, 3e-4, 1e-3)
    ours_steps: tuple[int, ...] = (8, 12)
    guidance: float = Field(2.0, ge=0)
    exit_images: int = Field(256, ge=2)
    exit_thresholds: tuple[float, ...] = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
    exit_steps: int = Field(50, ge=4)
    num_calibration: int = Field(512, ge=4)
    calibration_eps: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    calibration_delta: float = Field(0.1, gt=0, lt=1)
    resamples: int = Field(1000, ge=100)
    seed: int = Field(0, ge=0)

    @classmethod
    def quick(cls) -> FrontierConfig:
        """A few minutes on 2 cores: it shows that everything runs, and decides nothing."""
        return cls(
            num_images=16, num_headline=16, num_tune=8, num_moves=3, num_priced=1,
            tune_steps=(6, 8), rounds=3,
            teacher_steps={"euler": (8,), "heun": (4,), "dpmpp_2m": (4, 6, 8), "unipc": (6,)},
            static_steps=(8,), cache_steps=(8,), tea_thresholds=(0.1,), ras_shares=(0.5,),
            budgets=(0.45,), thresholds=(3e-4,), ours_steps=(8,), guidance=2.0, exit_images=8,
            exit_thresholds=(1e-4, 1e-3), exit_steps=12, num_calibration=16, resamples=200,
        )  # fmt: skip


def contenders(config: FrontierConfig, models: Models) -> Iterator[Method]:
    """Every row that needs no search and no other row."""
    for solver, steps in config.teacher_steps.items():
        for n in steps:
            yield dense("teacher", "teacher", solver, n)
    for name in models.thin:
        for n in config.static_steps:
            yield dense(name, "thin", SOLVER, n)
    for n in config.static_steps:
        yield from (schedule_method(slices(quarters, n)) for quarters in (1, 2, 3, 4))
    yield from caches(config, models)
    for n in config.ours_steps:
        yield from (budget_method(n, budget) for budget in config.budgets)
        yield from (threshold_method(n, threshold) for threshold in config.thresholds)
        setting = {"solver": SOLVER, "num_steps": n}
        yield Method(f"full by rows, {n} steps", "ignored", "policy", setting | {"policy": "full"})
        yield Method(f"predictor ignored, {n} steps", "ignored", "ignored", setting)


def caches(config: FrontierConfig, models: Models) -> Iterator[Method]:
    """Training-free baselines on the teacher."""
    for n in config.cache_steps:
        base = {"model": "teacher", "solver": SOLVER, "num_steps": n}
        if models.arch.num_levels > 1:
            for interval in (2, 3):
                yield Method(
                    f"DeepCache-like N={interval}, {n} steps", "cache", "deep_cache",
                    base | {"interval": interval},
                )  # fmt: skip
        for threshold in config.tea_thresholds:
            yield Method(
                f"TeaCache-like {threshold:g}, {n} steps", "cache", "tea_cache",
                base | {"threshold": threshold},
            )  # fmt: skip
        for share in config.ras_shares:
            yield Method(
                f"RAS-like {share:g}, {n} steps", "cache", "ras",
                base | {"share": share, "warm_up": max(2, n // 4)},
            )  # fmt: skip


def dense(model: str, group: str, solver: str, num_steps: int, guidance: float = 1.0) -> Method:
    setting = {"model": model, "solver": solver, "num_steps": num_steps}
    guided = "" if guidance == 1 else f", guidance {guidance:g}"
    return Method(f"{model} {solver} {num_steps}{guided}", group, "dense", setting, guidance)


def threshold_method(num_steps: int, threshold: float) -> Method:
    setting = {
        "policy": "threshold", "threshold": threshold, "num_steps": num_steps, "solver": SOLVER,
    }  # fmt: skip
    return Method(f"ours threshold {threshold:g}, {num_steps} steps", "ours", "policy", setting)


def guided(config: FrontierConfig, ours: Method) -> Iterator[Method]:
    """One row of ours under guidance, and the teacher's beside it."""
    if config.guidance in (0.0, 1.0):
        return
    weight = config.guidance
    name = f"{ours.name}, guidance {weight:g}"
    yield Method(name, "ours", ours.kind, _untiered(ours.setting), weight)
    for n in (6, 8, 12):
        yield dense("teacher", "teacher", SOLVER, n, weight)


def controls_of(ours: Method, trace: Trace) -> Iterator[Method]:
    """The controls for where: ours's widths at other positions."""
    base = _untiered(ours.setting) | {"of": ours.name, "budget": None}
    for how in CONTROLS:
        yield Method(
            f"{how} for {ours.name}", "control", "control", base | {"how": how},
            timed=how != "oracle", trace=trace,
        )  # fmt: skip


def _untiered(setting: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in setting.items() if key != "tier"}
