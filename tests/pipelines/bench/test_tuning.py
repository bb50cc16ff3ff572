"""What a search takes of the settings that it looked at."""

import math

import pytest

from nitrogen.pipelines.bench import quality
from nitrogen.pipelines.bench.contenders import dense
from nitrogen.pipelines.bench.hull import lower_hull
from nitrogen.pipelines.bench.settings import budget_method
from nitrogen.pipelines.bench.tuning import (
    Tried,
    Tuning,
    most_saved,
    saved,
)

FULL_MODEL = lower_hull([2.0, 4.0, 8.0], [4.0, 2.0, 1.0])  # forwards, error


def look(error: float, spent: float) -> Tried:
    return Tried(error, spent, budget_method(8, 0.9))


def test_what_is_saved_is_the_full_models_compute_at_that_error_over_ours():
    assert math.exp(saved(look(2.0, 2.0), FULL_MODEL)) == pytest.approx(2.0)
    assert math.exp(saved(look(1.5, 2.0), FULL_MODEL)) == pytest.approx(math.sqrt(4 * 8) / 2)
    assert math.exp(saved(look(0.1, 4.0), FULL_MODEL)) == pytest.approx(2.0), "its best"
    assert saved(look(4.1, 0.5), FULL_MODEL) == -math.inf, "worse than all of them"


def test_the_largest_saving_within_the_tier_is_taken_not_the_least_error(limit):
    near, saves = look(1.0, 6.0), look(2.0, 2.5)
    assert most_saved([near, saves], FULL_MODEL, limit) is saves
    below, above = look(4.0, 0.5), look(1.0, 6.5)
    assert most_saved([below, above, near], FULL_MODEL, limit) is near
    assert most_saved([below, above], FULL_MODEL, limit) is above, "the nearest, where none is in"
    bad, worse = look(5.0, 4.0), look(6.0, 2.5)
    assert most_saved([worse, bad], FULL_MODEL, limit) is bad, "not the cheapest"


def test_what_is_minimised_sees_pixels_and_features(models, drawn, extract):
    target = quality.reference(models, drawn)
    tuning = Tuning(models, drawn, target, extract, overhead=0.0)
    near, far = (tuning.error(dense("teacher", "teacher", "dpmpp_2m", n)) for n in (32, 2))
    assert 0 < near < far
    assert tuning.error(quality.reference_method()) == 0
