"""Batches are pure functions of (seed, step)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nitrogen.pipelines.data.batches import balance_weights, batch_indices


@given(
    seed=st.integers(0, 2**40),
    step=st.integers(0, 10**7),
    batch_size=st.integers(1, 70),
    num_images=st.integers(1, 50),
)
def test_a_batch_depends_on_its_arguments_alone(seed, step, batch_size, num_images):
    first = batch_indices(seed, step, batch_size, num_images)
    batch_indices(seed + 1, step, batch_size, num_images + 1)
    assert np.array_equal(first, batch_indices(seed, step, batch_size, num_images))
    assert first.dtype == np.int64
    assert first.shape == (batch_size,)
    assert first.min() >= 0
    assert first.max() < num_images


@pytest.mark.parametrize(("batch_size", "num_images"), [(7, 21), (8, 21), (50, 21), (1, 1), (4, 3)])
def test_every_epoch_is_a_permutation(batch_size: int, num_images: int):
    steps = 3 * num_images
    stream = np.concatenate([batch_indices(5, s, batch_size, num_images) for s in range(steps)])
    epochs = stream[: len(stream) // num_images * num_images].reshape(-1, num_images)
    assert (np.sort(epochs, axis=1) == np.arange(num_images)).all()
    if num_images > 10:
        assert len(np.unique(epochs, axis=0)) == len(epochs)


def test_ranks_share_one_global_batch():
    whole = batch_indices(0, 3, 12, 100)
    parts = [whole[rank::3] for rank in range(3)]
    assert sorted(np.concatenate(parts).tolist()) == sorted(whole.tolist())


def test_seeds_differ():
    assert not np.array_equal(batch_indices(0, 0, 32, 1000), batch_indices(1, 0, 32, 1000))


def test_balance_draws_every_class_equally_often():
    labels = np.repeat([0, 1, 2], [900, 90, 10])
    weights = balance_weights(labels)
    drawn = np.concatenate(
        [labels[batch_indices(0, s, 100, len(labels), weights)] for s in range(100)]
    )
    assert np.abs(np.bincount(drawn) / len(drawn) - 1 / 3).max() < 0.02
    assert np.allclose(balance_weights(labels, power=0), 1 / len(labels))


def test_a_class_without_pictures_has_no_part_in_the_balance():
    assert np.allclose(balance_weights(np.array([0, 2, 2])), [0.5, 0.25, 0.25])


def test_a_weight_of_zero_is_never_drawn():
    weights = np.array([0.0, 1.0, 0.0, 3.0, 0.0])
    drawn = np.concatenate([batch_indices(0, s, 50, 5, weights) for s in range(40)])
    assert set(drawn.tolist()) == {1, 3}


@pytest.mark.parametrize(
    "arguments",
    [
        (0, 0, 4, 0),
        (0, 0, 0, 4),
        (0, -1, 4, 4),
        (0, 0, 4, 4, [1.0]),
        (0, 0, 4, 2, [0.0, 0.0]),
        (0, 0, 4, 2, [float("nan"), 1.0]),
        (0, 0, 4, 2, [-1.0, 2.0]),
    ],
)
def test_nothing_to_draw_from(arguments: tuple):
    with pytest.raises(ValueError, match="must be"):
        batch_indices(*arguments)
