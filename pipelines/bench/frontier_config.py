"""How large `nitrogen bench frontier` is: every option, and three sizes of it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nitrogen.pipelines.recipe_errors import sentences
from nitrogen.pipelines.recipe_source import RawRecipe, parse_overrides
from nitrogen.platform.errors import ConfigError

STEPS = (3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 25, 32, 50)
FORMAT = 2  # of the file: from 2 on, psnr_db of exits is a mean over pictures
MOST = 1_000_000  # of anything that is counted
Preset = Literal["quick", "day", "full"]
Solver = Literal["euler", "heun", "dpmpp_2m", "unipc"]
Steps = Annotated[int, Field(ge=2, le=1000)]
Share = Annotated[float, Field(gt=0, le=1)]  # of full compute, or of the regions
Positive = Annotated[float, Field(gt=0)]


class FrontierConfig(BaseModel):
    """The options; their defaults are those of the preset `full`.

    num_images      seeds of every row; fd_lite0 needs 1,280 or more
    num_controls    of these, seeds of the controls for where (the oracle asks the teacher often)
    num_guided      of these, seeds of guided rows
    num_headline    seeds of the rows marked as headline (ours of tiers and saving, their teachers)
    num_tune        validation seeds that schedules and budgets are tuned on
    num_moves       changes that the search over static schedules tries, for each tier
    num_priced      settings of ours for which a price is searched, for each tier
    num_saving      validation seeds on which, for each of saving_steps, the least budget is chosen
                    that is as near as the teacher; fd_lite0 needs 1,280 or more
    tune_steps      numbers of steps that ours and the static schedules choose from
    rounds          timed calls of each row, at each batch size
    pair_rounds     further rounds, of the few rows whose times stand in a ratio of two
    guidance        of the guided rows; 0 leaves them out
    exit_images     pictures, exit_steps of Euler: forward passes saved by exit alone; the
                    threshold is the best of exit_thresholds
    num_calibration pictures of each split; calibration_eps: bounds on a region's mean squared
                    error; calibration_delta: how many exits may be above
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_images: int = Field(1536, ge=4, le=MOST)
    num_controls: int = Field(1536, ge=4, le=MOST)
    num_guided: int = Field(512, ge=4, le=MOST)
    num_headline: int = Field(5000, ge=4, le=MOST)
    num_tune: int = Field(192, ge=4, le=MOST)
    num_moves: int = Field(80, ge=0, le=MOST)
    num_priced: int = Field(2, ge=0, le=MOST)
    num_saving: int = Field(2048, ge=4, le=MOST)
    saving_steps: tuple[Steps, ...] = (3, 4, 5, 6, 8)
    tune_steps: tuple[Steps, ...] = Field((3, 4, 5, 6, 7, 8, 10, 12, 14), min_length=1)
    rounds: int = Field(40, ge=2, le=MOST)
    pair_rounds: int = Field(100, ge=2, le=MOST)
    batches: tuple[Annotated[int, Field(ge=1, le=256)], ...] = Field((1, 8), min_length=1)
    teacher_steps: dict[Solver, tuple[Steps, ...]] = {
        "euler": (4, 6, 8, 10, 12, 16, 20, 25, 32, 50),
        "heun": (4, 5, 6, 8, 10, 12, 16, 25),
        "dpmpp_2m": STEPS,
        "unipc": STEPS,
    }
    thin_steps: tuple[Steps, ...] = (3, 4, 5, 6, 8, 10, 12, 16, 20)
    static_steps: tuple[Steps, ...] = (3, 4, 6, 8, 10, 12, 16)
    cache_steps: tuple[Steps, ...] = (8, 10, 12, 16, 20)
    tea_thresholds: tuple[Positive, ...] = (0.1, 0.2, 0.4, 0.8)
    ras_shares: tuple[Share, ...] = (0.25, 0.5, 0.75)
    budgets: tuple[Share, ...] = (0.3, 0.45, 0.6, 0.8)
    thresholds: tuple[Annotated[float, Field(ge=0, le=4)], ...] = (3e-5, 1e-4, 3e-4, 1e-3)
    ours_steps: tuple[Steps, ...] = Field((4, 8, 12), min_length=1)
    guidance: float = Field(2.0, ge=0, le=20)
    exit_images: int = Field(256, ge=2, le=MOST)
    exit_thresholds: tuple[Positive, ...] = Field(
        tuple(10 ** (k / 6) for k in range(-36, -5)), min_length=1
    )
    exit_steps: int = Field(50, ge=4, le=MOST)
    num_calibration: int = Field(512, ge=4, le=MOST)
    calibration_eps: tuple[Positive, ...] = Field((1e-3, 3e-3, 1e-2), min_length=1)
    calibration_delta: float = Field(0.1, gt=0, lt=1)
    resamples: int = Field(1000, ge=100, le=MOST)
    seed: int = Field(0, ge=0)

    @classmethod
    def preset(cls, name: str) -> FrontierConfig:
        """quick, day or full. Raises ConfigError for another name."""
        presets: dict[str, Callable[[], FrontierConfig]] = {
            "quick": cls.quick,
            "day": cls.day,
            "full": cls,
        }
        if name not in presets:
            raise ConfigError(f"--preset must be quick, day or full, got {name!r}. Choose one.")
        return presets[name]()

    def changed(self, overrides: Iterable[str] = (), **options: int | None) -> FrontierConfig:
        """With `KEY=VALUE` of YAML laid over it, and the sizes of options that are not None.

        Fewer rounds are fewer of pairs too, unless those are given; more are of all rows alone.
        Raises ConfigError for another key, a value that it cannot have, or a size given twice.
        """
        raw = parse_overrides(overrides, "num_tune=48")
        given = {name: value for name, value in options.items() if value is not None}
        if twice := sorted(raw.values.keys() & given.keys()):
            raise ConfigError(f"--set {twice[0]} must not be given beside its option. Drop one.")
        told = raw.merged(RawRecipe(given))
        if "pair_rounds" not in told.values and isinstance(told.values.get("rounds"), int):
            told.values["pair_rounds"] = min(told.values["rounds"], self.pair_rounds)
        try:
            return FrontierConfig(**RawRecipe(self.model_dump()).merged(told).values)
        except ValidationError as error:
            raise ConfigError(f"--set {sentences(error, FrontierConfig, raw)[0]}") from None

    @classmethod
    def quick(cls) -> FrontierConfig:
        """A few minutes on 2 cores: it shows that everything runs, and decides nothing."""
        return cls(
            num_images=16, num_controls=16, num_guided=8, num_headline=16, num_tune=8, num_moves=3,
            num_priced=1, num_saving=16, saving_steps=(4,), tune_steps=(4, 6), rounds=3,
            pair_rounds=3,
            teacher_steps={"euler": (8,), "heun": (4,), "dpmpp_2m": (4, 6, 8), "unipc": (6,)},
            thin_steps=(8,), static_steps=(8,),
            cache_steps=(8,), tea_thresholds=(0.1,), ras_shares=(0.5,),
            budgets=(0.45,), thresholds=(3e-4,), ours_steps=(8,), guidance=2.0, exit_images=8,
            exit_thresholds=(1e-4, 1e-3, 1e-2), exit_steps=12, num_calibration=16, resamples=200,
        )  # fmt: skip

    @classmethod
    def day(cls) -> FrontierConfig:
        """About an hour on 2 cores of 50 GFLOP/s each, for `small` at 32 px.

        What can lie on a hull, and ours, over seeds enough for fd_lite0; few of the others.
        """
        return cls(
            num_images=1280, num_controls=384, num_guided=128, num_headline=4, num_tune=128,
            num_moves=40, num_priced=1, num_saving=1536, saving_steps=(3, 4, 5, 6, 8),
            tune_steps=(3, 4, 5, 6, 8, 10, 12), rounds=20, pair_rounds=50,
            teacher_steps={
                "euler": (8, 16), "heun": (4, 6), "dpmpp_2m": (3, 4, 5, 6, 7, 8, 10, 12, 16),
                "unipc": (4, 5, 6, 7, 8, 10, 12),
            },
            thin_steps=(3, 4, 5, 6, 8, 10, 12), static_steps=(3, 4, 6, 8),
            cache_steps=(8, 12), tea_thresholds=(0.2, 0.5), ras_shares=(0.5,),
            budgets=(0.45, 0.7), thresholds=(1e-4, 1e-3), ours_steps=(4, 8),
            exit_images=256, num_calibration=256,
        )  # fmt: skip


def is_quick(command: str) -> bool:
    """Whether this command line of `nitrogen bench` asked for a quick run: it shows that the
    benchmark runs, and decides nothing."""
    words = shlex.split(command)
    return "--quick" in words or ("--preset", "quick") in pairwise(words)
