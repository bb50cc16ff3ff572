"""The controls move widths and nothing else."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nitrogen.model.config import NUM_WIDTHS
from nitrogen.pipelines.bench.controls import MOVES, Trace, assign, moved, partners

N, STEPS, SIDE = 12, 5, 4


@pytest.fixture
def trace() -> Trace:
    widths = np.random.default_rng(0).integers(0, 5, (N, STEPS, SIDE, SIDE)).astype(np.uint8)
    return Trace(tuple(range(40, 40 + N)), widths)


def counts(widths: np.ndarray) -> np.ndarray:
    """[n, steps, 5]: regions at each width."""
    return np.stack([(widths == q).sum(axis=(2, 3)) for q in range(NUM_WIDTHS + 1)], axis=-1)


@pytest.mark.parametrize("how", MOVES)
def test_every_step_keeps_its_widths(trace, how):
    out = moved(trace, how)
    np.testing.assert_array_equal(counts(out.widths), counts(trace.widths))
    assert out.seeds == trace.seeds
    assert (out.widths != trace.widths).any()
    np.testing.assert_array_equal(moved(trace, how).widths, out.widths)


@given(st.integers(2, 40), st.integers(0, 1000))
def test_partners_are_others_and_everybody_is_one(n, first):
    partner = partners(range(first, first + n))
    assert sorted(partner) == list(range(n))
    assert (partner != np.arange(n)).all()


def test_shuffled_positions_are_another_samples():
    # Equal counts at every step: then a sample's shuffled plan is its partner's, exactly.
    generator = np.random.default_rng(1)
    row = np.array([4] * 3 + [2] * 5 + [1] * 6 + [0] * 2, np.uint8)
    plans = [[generator.permutation(row) for _ in range(STEPS)] for _ in range(N)]
    trace = Trace(tuple(range(N)), np.array(plans).reshape(N, STEPS, SIDE, SIDE))
    out = moved(trace, "shuffled").widths
    np.testing.assert_array_equal(out, trace.widths[partners(trace.seeds)])


def test_centre_and_time_average_are_one_map_for_all(trace):
    heavy = trace.widths.copy()
    heavy[:, :, 0, 3] = 4  # always wide: comes first in the average
    heavy[:, :, 2, 2] = 0
    heavy[:, :, 1, 1] = 4
    out = moved(Trace(trace.seeds, heavy), "time_average").widths
    assert (out[:, :, 0, 3] == heavy.max(axis=(2, 3))).all()
    assert (out[:, :, 2, 2] == heavy.min(axis=(2, 3))).all()
    centre = moved(trace, "centre").widths
    inner = centre[:, :, 1:3, 1:3].reshape(N, STEPS, -1)
    outer = np.delete(centre.reshape(N, STEPS, -1), [5, 6, 9, 10], axis=2)
    assert (inner.min(axis=2) >= outer.max(axis=2)).all()


def test_no_two_controls_break_ties_alike():
    # Everything at one width but one region: where it goes is chance alone, for each control that
    # has no reason of its own to put it anywhere (equal maps, equal distances).
    widths = np.full((40, STEPS, 1, 2), 1, np.uint8)
    widths[:, ::2, :, 0] = 4
    widths[:, 1::2, :, 1] = 4
    placed = {
        how: moved(Trace(tuple(range(40)), widths), how).widths.tobytes()
        for how in ("random", "centre")
    }
    assert placed["random"] != placed["centre"]


def test_random_differs_from_step_to_step_and_sample_to_sample():
    widths = np.zeros((6, 8, 4, 4), np.uint8)
    widths[:, :, 0, 0] = 4
    out = moved(Trace(tuple(range(6)), widths), "random").widths.reshape(48, 16).argmax(axis=1)
    assert len(set(out.tolist())) > 8


@given(
    arrays(np.int64, (2, 5), elements=st.integers(0, 4)),
    arrays(np.float64, (2, 5, 5), elements=st.floats(-1, 1)),
)
def test_assign_permutes_and_no_exchange_helps(widths, gain):
    chosen = assign(torch.from_numpy(widths), torch.from_numpy(gain)).numpy()
    np.testing.assert_array_equal(np.sort(chosen), np.sort(widths))
    for b in range(2):
        for i in range(5):
            for j in range(i):
                now = gain[b, i, chosen[b, i]] + gain[b, j, chosen[b, j]]
                swapped = gain[b, i, chosen[b, j]] + gain[b, j, chosen[b, i]]
                assert swapped <= now + 1e-9


def test_assign_gives_the_width_to_the_largest_gain():
    gain = torch.zeros(1, 4, 5)
    gain[0, 2, 4] = 1.0
    assert assign(torch.tensor([[4, 1, 1, 1]]), gain).tolist() == [[1, 1, 4, 1]]


def test_a_trace_has_a_plan_for_every_seed():
    with pytest.raises(ValueError, match="seeds must be 1, got 2"):
        Trace((1, 2), np.zeros((1, 2, 4, 4), np.uint8))
