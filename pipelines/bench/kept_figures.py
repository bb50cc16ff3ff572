"""What a benchmark finds beside its rows, kept by key: exits, calibration, ranks of gains."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from nitrogen.model.config import NUM_WIDTHS
from nitrogen.pipelines.bench.calibrate import calibrate
from nitrogen.pipelines.bench.contest import Contest, first
from nitrogen.pipelines.bench.exits import forward_passes_saved
from nitrogen.pipelines.bench.forecast import ORACLE_FORWARDS
from nitrogen.pipelines.bench.gain_ranking import BUDGET, gain_ranking
from nitrogen.pipelines.bench.models import TUNE_SPLIT, pictures
from nitrogen.pipelines.bench.row_store import Row, row_key
from nitrogen.pipelines.code_digest import code_digests
from nitrogen.pipelines.evaluation.residuals import Uniform
from nitrogen.pipelines.sampling import Draws, draws

NOT_YET = "not measured yet"
EXITS, CALIBRATION, RANKING = "forward passes saved", "calibration", "ranks of predicted gains"


def exits(contest: Contest, tune_drawn: Draws, at_hand: bool = False) -> dict[str, Any]:
    """Forward passes saved by exit alone; kept by key. at_hand: only if they are there."""
    config, few = contest.config, first(contest.drawn, contest.config.exit_images)

    def measure() -> dict[str, Any]:
        return forward_passes_saved(
            contest.models, tune_drawn, few, config.exit_steps, config.exit_thresholds
        )

    described = {
        "exits": config.exit_steps, "thresholds": config.exit_thresholds,
        "images": config.exit_images,
    }  # fmt: skip
    key = _key(contest, described, forward_passes_saved, tune=tune_drawn, report=few)
    return kept(contest, EXITS, key, measure, {"threshold": None}, at_hand)


def calibration(contest: Contest, at_hand: bool = False) -> dict[str, Any]:
    """Reliability of the predicted residual, and thresholds with a guarantee; kept by key.

    The validation seeds are more than the search has: the guarantee needs pictures.
    """
    config, models = contest.config, contest.models
    labels = pictures(models.data_uri, TUNE_SPLIT, models.arch.image_size)[1]
    known = draws("sweep", config.num_calibration, labels, config.seed)
    unseen = first(contest.drawn, config.num_calibration)

    def measure() -> dict[str, Any]:
        return calibrate(
            models, Uniform(), known, unseen, num_steps=max(config.ours_steps),
            eps=config.calibration_eps, delta=config.calibration_delta,
        )  # fmt: skip

    described = {
        "calibration": config.calibration_eps, "delta": config.calibration_delta,
        "pictures": config.num_calibration, "steps": max(config.ours_steps),
    }  # fmt: skip
    key = _key(contest, described, calibrate, known=known, unseen=unseen)
    return kept(contest, CALIBRATION, key, measure, {"thresholds": []}, at_hand)


def ranks_of_gains(contest: Contest, at_hand: bool = False) -> dict[str, Any]:
    """Predicted against true gains on the report split; kept by key."""
    config = contest.config
    drawn, num_steps = first(contest.drawn, config.num_calibration), min(config.ours_steps)

    def measure() -> dict[str, Any]:
        return gain_ranking(contest.models, drawn, num_steps)

    described = {"gain ranking": num_steps, "budget": BUDGET}
    key = _key(contest, described, gain_ranking, drawn=drawn)
    return kept(contest, RANKING, key, measure, {"gains": {}}, at_hand)


def kept(
    contest: Contest, name: str, key: str, measure: Callable[[], dict[str, Any]],
    nothing: dict[str, Any], at_hand: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """What was found under this key, from the store or now. at_hand: only from the store; else
    `nothing`, and that it is not measured yet."""
    row = contest.store.get(key)
    if row is None and at_hand:
        return nothing | {"reason": NOT_YET, "n": 0}
    if row is None:
        with contest.forecast.working(name):
            row = contest.store.put(Row(key, measure(), {}))
    contest.forecast.drop(name)
    return row.values


def _key(
    contest: Contest, described: Mapping[str, Any], measured_by: Callable[..., Any], **drawn: Draws
) -> str:
    """Of a figure of the student: its sizes, the seeds, and the code that measures it."""
    seeds = {which: [one.seeds, one.labels] for which, one in drawn.items()}
    code = code_digests(measured_by.__module__)
    return row_key(described, contest.facts_of("student") | seeds | {"code": code})


def expected(contest: Contest) -> dict[str, float]:
    """About the FLOPs of all three."""
    config, full = contest.config, float(contest.models.cost.full_flops)
    # The validation seeds at thresholds and without exits, the report seeds at one and without.
    tries = 1 + math.ceil(math.log2(len(config.exit_thresholds) + 1))
    pictures_drawn = config.num_tune * tries + 2 * config.exit_images
    asked = 1 + ORACLE_FORWARDS - NUM_WIDTHS  # a step: the student's, and the teacher's answer
    steps = 2 * config.num_calibration * max(config.ours_steps)
    ranked = config.num_calibration * min(config.ours_steps) * ORACLE_FORWARDS
    return {
        EXITS: pictures_drawn * config.exit_steps * full,
        CALIBRATION: steps * asked * full,
        RANKING: ranked * full,
    }
