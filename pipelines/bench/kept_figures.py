"""What a benchmark finds beside its rows, kept by key: tuned settings, exits, calibration."""

from __future__ import annotations

from typing import Any

import numpy as np

from nitrogen.pipelines.bench.calibrate import Uniform, calibrate
from nitrogen.pipelines.bench.contest import Contest
from nitrogen.pipelines.bench.exits import forward_passes_saved
from nitrogen.pipelines.bench.methods import Method
from nitrogen.pipelines.bench.models import TUNE_SPLIT, pictures
from nitrogen.pipelines.bench.quality import reference
from nitrogen.pipelines.bench.row_store import Row, row_key
from nitrogen.pipelines.bench.tuning import TIERS, Tuning, searched_schedule, tuned_budget
from nitrogen.pipelines.code_digest import code_digests
from nitrogen.pipelines.sampling import Draws, draws


def tune(contest: Contest) -> tuple[list[Method], Draws]:
    """The tiers' settings of ours and of the static schedule, found on the validation split."""
    config, models, store = contest.config, contest.models, contest.store
    labels = pictures(models.data_uri, TUNE_SPLIT, models.arch.image_size)[1]
    drawn = draws("sweep", config.num_tune, labels, config.seed)
    target: list[np.ndarray] = []
    code = code_digests("nitrogen.pipelines.bench.tuning")
    facts = contest.facts | {"tune": drawn.seeds, "labels": drawn.labels, "code": code}
    found = []
    for tier in TIERS:
        for search in (tuned_budget, searched_schedule):
            described = {
                "search": search.__name__, "tier": tier, "ceiling": TIERS[tier],
                "moves": config.num_moves, "steps": config.tune_steps,
                "priced": config.num_priced,
            }  # fmt: skip
            key = row_key(described, facts)
            row = store.get(key)
            if row is None:
                contest.say(f"{search.__name__} for {tier}: {TIERS[tier]:g} forwards")
                if not target:
                    target.append(reference(models, drawn))
                tuning = Tuning(
                    models, drawn, target[0], config.tune_steps, config.num_moves,
                    num_priced=config.num_priced,
                )  # fmt: skip
                chosen = search(tuning, tier)
                row = store.put(Row(key, described | {"method": chosen.described()}, {}))
            found.append(Method(**row.values["method"]))
    return found, drawn


def exits(contest: Contest, tune_drawn: Draws) -> dict[str, Any]:
    """Forward passes saved by exit alone; kept by key."""
    config = contest.config
    described = {
        "exits": config.exit_steps, "thresholds": config.exit_thresholds,
        "images": config.exit_images,
    }  # fmt: skip
    code = code_digests("nitrogen.pipelines.bench.exits")
    key = row_key(described, contest.facts | {"tune": tune_drawn.seeds, "code": code})
    row = contest.store.get(key)
    if row is None:
        contest.say(f"exit alone, Euler, {config.exit_steps} steps")
        few = first(contest.drawn, config.exit_images)
        values = forward_passes_saved(
            contest.models, tune_drawn, few, config.exit_steps, config.exit_thresholds
        )
        row = contest.store.put(Row(key, values, {}))
    return row.values


def calibration(contest: Contest) -> dict[str, Any]:
    """Reliability of the predicted residual, and thresholds with a guarantee; kept by key.

    The validation seeds are more than the search has: the guarantee needs pictures.
    """
    config, models = contest.config, contest.models
    labels = pictures(models.data_uri, TUNE_SPLIT, models.arch.image_size)[1]
    known = draws("sweep", config.num_calibration, labels, config.seed)
    unseen = Draws(
        contest.drawn.labels[: config.num_calibration],
        contest.drawn.seeds[: config.num_calibration],
    )
    described = {
        "calibration": config.calibration_eps, "delta": config.calibration_delta,
        "pictures": config.num_calibration, "steps": max(config.ours_steps),
    }  # fmt: skip
    code = code_digests("nitrogen.pipelines.bench.calibrate")
    key = row_key(described, contest.facts | {"known": [known.seeds, known.labels], "code": code})
    row = contest.store.get(key)
    if row is None:
        contest.say("calibration of the predicted residual")
        values = calibrate(
            models, Uniform(), known, unseen, num_steps=max(config.ours_steps),
            eps=config.calibration_eps, delta=config.calibration_delta,
        )  # fmt: skip
        row = contest.store.put(Row(key, values, {}))
    return row.values


def first(drawn: Draws, num: int) -> Draws:
    return Draws(drawn.labels[:num], drawn.seeds[:num])
