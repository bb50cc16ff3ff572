"""`nitrogen bench ablation`: what each part of the student's training brought.

Every arm goes on from the same teacher over the same number of the same pictures; one part is left
out in each. All are then measured on the same seeds and steps, at full width and under budgets.
Arms and rows are kept by key: a run that was cut off goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.errors import BudgetError
from nitrogen.model.pipeline import Pipeline
from nitrogen.pipelines.bench.ablation_arms import WHOLE, Arm, Trainer, arms_of, shortened
from nitrogen.pipelines.bench.contest import Contest
from nitrogen.pipelines.bench.forecast import Say
from nitrogen.pipelines.bench.frontier_config import FrontierConfig
from nitrogen.pipelines.bench.methods import Method, slices
from nitrogen.pipelines.bench.models import (
    REPORT_SPLIT,
    Models,
    check_classes,
    data_uri,
    model_digest,
)
from nitrogen.pipelines.bench.quality import REFERENCE_SOLVER, REFERENCE_STEPS, Extract
from nitrogen.pipelines.bench.row_store import Row
from nitrogen.pipelines.bench.settings import SOLVER, budget_method
from nitrogen.pipelines.data.loader import ShardDataset
from nitrogen.pipelines.data.manifest import MANIFEST_FILE, Manifest
from nitrogen.pipelines.data.prepare import prepare
from nitrogen.pipelines.metrics.bootstrap import bootstrap
from nitrogen.pipelines.recipe import Recipe, load_recipe
from nitrogen.pipelines.steps.distill import DistillConfig, relay_of
from nitrogen.pipelines.steps.sweep_config import SweepConfig
from nitrogen.pipelines.trained_models import model_directory, recipe_of, shipped_name

FULL = "full width"


class AblationConfig(BaseModel):
    """num_images: that each arm trains on; num_seeds: pictures of each setting; num_steps: of the
    pictures, the sweep's where None; budgets: shares of full compute; arms: names, all if none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_images: int = Field(16_000, ge=1, le=1_000_000_000)
    num_seeds: int = Field(256, ge=4, le=1_000_000)
    num_steps: int | None = Field(None, ge=3, le=1000)
    budgets: tuple[float, ...] = (0.5, 0.3)
    arms: tuple[str, ...] = ()
    seed: int = Field(0, ge=0)

    @classmethod
    def quick(cls) -> AblationConfig:
        """Shows that everything runs, and decides nothing."""
        return cls(num_images=128, num_seeds=8)


def run_ablation(
    config: AblationConfig,
    run: Path | None,
    folder: Path,
    extract: Extract,
    say: Say,
    data: str | None = None,
) -> dict[str, Any]:
    """Trains what is not there, measures it, and returns arms and settings as JSON values.

    run: folder with a trained teacher, or the shipped weights'; folder: where arms and rows are
    kept; data: folder or bucket of the pictures, by default those of the run.
    Raises ConfigError, DataError, TrainingError.
    """
    recipe = recipe_behind(run)
    distill = cast(DistillConfig, recipe.section("distill"))
    sweep = cast(SweepConfig, recipe.section("sweep"))
    student, num_steps = distill.student, config.num_steps or sweep.num_inference_steps
    arms = arms_of(student, config.arms)
    directory, uri = model_directory(run, "teacher"), data or data_uri(run)
    teacher, manifest = Pipeline.load(directory), ShardDataset(uri, REPORT_SPLIT).manifest
    if data:
        check_classes(manifest, teacher)
    digests = {"teacher": model_digest(directory)}
    trainer = Trainer(
        directory, training_data(uri, manifest, teacher.image_size, folder),
        shortened(distill.optim, config.num_images), num_steps, config.seed,
        recipe.executor.precision, digests | {"data": manifest.digest}, folder / "arms", say,
        relay_of(distill),
    )  # fmt: skip
    kept = {arm.name: trainer.trained(arm) for arm in arms}
    trained = {name: Pipeline.load(path) for name, path in kept.items()}
    digests |= {name: model_digest(path) for name, path in kept.items()}
    models = Models(teacher, trained[WHOLE], trained, digests, uri, manifest.name, manifest.digest)
    sizes = FrontierConfig(num_images=config.num_seeds, seed=config.seed)
    contest = Contest.prepare(sizes, models, folder, extract, say)
    return {
        "format": 1,
        "dataset": manifest.name,
        "reference": f"teacher, {REFERENCE_SOLVER}, {REFERENCE_STEPS} steps",
        "config": config.model_dump(mode="json"),
        "num_steps": num_steps,
        "num_images": config.num_images,
        "student": student.model_dump(mode="json"),
        "optim": trainer.optim.model_dump(mode="json"),
        **measured(contest, arms, num_steps, config.budgets),
    }


def recipe_behind(run: Path | None) -> Recipe:
    """That of the run, or the one that lies beside the shipped weights."""
    if run is not None and shipped_name(run) is None:
        return recipe_of(run)
    return load_recipe(str(model_directory(run, "student").parent / "recipe.yaml")).recipe


def training_data(uri: str, data: Manifest, side: int, folder: Path) -> str:
    """The data set at the teacher's size: itself, or reduced once into the folder."""
    if data.image_size[0] == side:
        return uri
    out = folder / f"data-{side}px-{data.digest[:12]}"
    if not (out / MANIFEST_FILE).is_file():
        prepare(uri, str(out), image_size=side)
    return str(out)


def measured(
    contest: Contest, arms: Sequence[Arm], num_steps: int, budgets: Sequence[float]
) -> dict[str, Any]:
    """settings: their names; teacher: its RMSE at the same steps; arms: with a cell a setting."""
    names = [FULL, *(f"budget {budget:g}" for budget in budgets)]
    shown: list[dict[str, Any]] = []
    rows: dict[tuple[str, str], Row] = {}
    methods = {
        (arm.name, name): setting(arm.name, num_steps, budget)
        for arm in arms
        for name, budget in zip(names, (None, *budgets), strict=True)
    }
    teacher = setting("teacher", num_steps, None)
    contest.expect([teacher, *methods.values()])
    for arm in arms:
        cells = {}
        for name in names:
            try:
                rows[arm.name, name] = contest.row(methods[arm.name, name])
            except BudgetError as error:
                cells[name] = {"rmse": None, "reason": str(error)}
                continue
            other = rows.get((arm.against, name)) if arm.against else None
            cells[name] = cell(rows[arm.name, name], other, contest, num_steps)
        changed = arm.changed(arms[0].student)
        shown.append({"name": arm.name, "against": arm.against, "changed": changed, "cells": cells})
    return {
        "settings": names,
        "teacher": cell(contest.row(teacher), None, contest, num_steps),
        "arms": shown,
    }


def setting(model: str, num_steps: int, budget: float | None) -> Method:
    """A model at full width, or under a budget by its own prices, as a user gets it of a student
    without a relay: what a part of its training brought is seen there."""
    if budget is None:
        widths = {"solver": SOLVER, "num_steps": num_steps, "widths": slices(NUM_WIDTHS, num_steps)}
        return Method(f"{model}, {FULL}", "static", "played", {"model": model} | widths)
    ours = budget_method(num_steps, budget, served=True)
    named = dict(ours.setting) | {"model": model}
    return replace(ours, name=f"{model}, budget {budget:g}", setting=named)


def cell(row: Row, other: Row | None, contest: Contest, num_steps: int) -> dict[str, Any]:
    """rmse: mean over seeds of the same-seed RMSE; over: how much larger than the other row's on
    the same seeds; share: of the full model's compute for the same steps."""
    rmse = np.sqrt(row.arrays["mse"])
    full = num_steps * float(contest.models.cost.full_flops) / 1e9
    found = {
        "rmse": bootstrap(rmse).to_dict(),
        "kid": row.values["kid"],
        "gflops": row.values["gflops"],
        "share": row.values["gflops"] / full,
        "n": len(rmse),
    }
    if other is not None:
        found["over"] = bootstrap(rmse - np.sqrt(other.arrays["mse"])).to_dict()
    return found
