"""Nearest training pictures: planted copies are found, strangers are not called copies."""

from __future__ import annotations

import numpy as np
import pytest

from nitrogen.pipelines.metrics.neighbours import nearest, nearest_training_images


def flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float32)


def test_nearest_equals_the_full_table_of_distances():
    generator = np.random.default_rng(0)
    queries, pool = generator.normal(size=(130, 7)), generator.normal(size=(200, 7))
    found = nearest(queries, pool, k=4)
    table = np.linalg.norm(queries[:, None] - pool[None], axis=2)
    assert np.array_equal(found.indices, np.argsort(table, axis=1)[:, :4])
    assert found.distances == pytest.approx(np.sort(table, axis=1)[:, :4], rel=1e-5)


def test_more_neighbours_than_pictures_are_refused():
    with pytest.raises(ValueError, match=r"k must be in 1\.\.2 .* got 3"):
        nearest(np.ones((1, 2)), np.ones((2, 2)), k=3)


def test_copies_are_found_at_distance_zero_and_counted():
    generator = np.random.default_rng(1)
    training = generator.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    held_out = generator.integers(0, 256, (80, 8, 8, 3), dtype=np.uint8)
    fresh = generator.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    samples = np.concatenate([training[[5, 41]], fresh])
    result = nearest_training_images(samples, training, flat, held_out_features=flat(held_out))
    assert result.by_features.indices[:2, 0].tolist() == [5, 41]
    assert result.by_pixels.distances[:2, 0].tolist() == [0.0, 0.0]
    assert result.by_pixels.distances[2:, 0].min() > 0.2
    assert 2 / 22 <= result.closer_than_held_out < 0.35
    assert result.to_dict()["num_held_out"] == 80


def test_without_held_out_pictures_there_is_no_yardstick():
    training = np.zeros((4, 4, 4, 3), np.uint8)
    result = nearest_training_images(training[:1], training, flat, k=2)
    assert result.closer_than_held_out is None
