"""What finalists and budgets are judged by."""

from types import SimpleNamespace

import numpy as np
import pytest

from nitrogen.pipelines.bench.judging import NUM_NEAR, Judge, near, to_the_data
from nitrogen.pipelines.bench.quality import Sampled
from nitrogen.pipelines.metrics.kernel import kernel_distance
from nitrogen.pipelines.sampling import Draws

GENERATOR = np.random.default_rng(0)


def test_errors_are_of_seeds_that_the_search_did_not_see():
    assert near(128, 1536) == slice(128, 128 + NUM_NEAR)
    assert near(8, 16) == slice(8, 16)
    assert near(16, 16) == slice(0, 16), "there are no others"


def test_without_pictures_enough_the_distance_is_to_the_training_split_still():
    features = GENERATOR.normal(size=(2, 20, 8))
    yardstick = SimpleNamespace(
        extract=lambda images: features[0], fd=lambda found: None, train=features[1]
    )
    assert to_the_data(yardstick, None) == kernel_distance(features[0], features[1]).value
    yardstick.fd = lambda found: SimpleNamespace(value=7.0)
    assert to_the_data(yardstick, None) == 7.0


def test_a_method_is_worth_its_error_its_distance_and_what_it_spent():
    x_0 = np.zeros((6, 2, 2, 3), np.float32)
    x_0[2:4] = 1.0  # of the seeds judged, one half from black to the middle of [0, 1]
    sampled = Sampled(x_0, np.full(6, 3.0), np.full(6, 2.0), None)
    tuning = SimpleNamespace(
        drawn=Draws([0, 0], [1, 2]), sampled=lambda method, drawn: sampled, spent=lambda made: 5.0
    )
    yardstick = SimpleNamespace(
        extract=lambda images: images, fd=lambda images: SimpleNamespace(value=len(images))
    )
    target = np.zeros((4, 2, 2, 3), np.float32)
    found = Judge(tuning, yardstick, Draws([0] * 6, [1, 2, 3, 4, 5, 6]), target)(None)
    assert (found.mse, found.distance, found.spent) == pytest.approx((0.125, 6.0, 5.0))
