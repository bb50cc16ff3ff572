"""What a benchmark finds beside its rows, kept by key: exits, calibration, ranks of gains."""

from __future__ import annotations

import math
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
    config = contest.config
    described = {
        "exits": config.exit_steps, "thresholds": config.exit_thresholds,
        "images": config.exit_images,
    }  # fmt: skip
    code = code_digests("nitrogen.pipelines.bench.exits")
    few = first(contest.drawn, config.exit_images)
    more = {"tune": _named(tune_drawn), "report": _named(few), "code": code}
    key = row_key(described, contest.facts_of("student") | more)
    row = contest.store.get(key)
    if row is None and at_hand:
        return {"threshold": None, "reason": NOT_YET, "n": 0}
    if row is None:
        with contest.forecast.working(EXITS):
            values = forward_passes_saved(
                contest.models, tune_drawn, few, config.exit_steps, config.exit_thresholds
            )
            row = contest.store.put(Row(key, values, {}))
    contest.forecast.drop(EXITS)
    return row.values


def calibration(contest: Contest, at_hand: bool = False) -> dict[str, Any]:
    """Reliability of the predicted residual, and thresholds with a guarantee; kept by key.

    The validation seeds are more than the search has: the guarantee needs pictures.
    """
    config, models = contest.config, contest.models
    labels = pictures(models.data_uri, TUNE_SPLIT, models.arch.image_size)[1]
    known = draws("sweep", config.num_calibration, labels, config.seed)
    unseen = first(contest.drawn, config.num_calibration)
    described = {
        "calibration": config.calibration_eps, "delta": config.calibration_delta,
        "pictures": config.num_calibration, "steps": max(config.ours_steps),
    }  # fmt: skip
    code = code_digests("nitrogen.pipelines.bench.calibrate")
    more = {"known": _named(known), "unseen": _named(unseen), "code": code}
    key = row_key(described, contest.facts_of("student") | more)
    row = contest.store.get(key)
    if row is None and at_hand:
        return {"thresholds": [], "reason": NOT_YET, "n": 0}
    if row is None:
        with contest.forecast.working(CALIBRATION):
            values = calibrate(
                models, Uniform(), known, unseen, num_steps=max(config.ours_steps),
                eps=config.calibration_eps, delta=config.calibration_delta,
            )  # fmt: skip
            row = contest.store.put(Row(key, values, {}))
    contest.forecast.drop(CALIBRATION)
    return row.values


def ranks_of_gains(contest: Contest, at_hand: bool = False) -> dict[str, Any]:
    """Predicted against true gains on the report split; kept by key."""
    config = contest.config
    drawn, num_steps = first(contest.drawn, config.num_calibration), min(config.ours_steps)
    described = {"gain ranking": num_steps, "budget": BUDGET}
    code = code_digests(gain_ranking.__module__)
    key = row_key(described, contest.facts_of("student") | {"drawn": _named(drawn), "code": code})
    row = contest.store.get(key)
    if row is None and at_hand:
        return {"gains": {}, "reason": NOT_YET, "n": 0}
    if row is None:
        with contest.forecast.working(RANKING):
            found = gain_ranking(contest.models, drawn, num_steps)
            row = contest.store.put(Row(key, found, {}))
    contest.forecast.drop(RANKING)
    return row.values


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


def _named(drawn: Draws) -> list[list[int]]:
    return [drawn.seeds, drawn.labels]
