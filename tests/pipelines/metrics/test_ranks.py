"""Rank correlation of rows."""

import numpy as np
import pytest

from nitrogen.pipelines.metrics.ranks import mean_ranks, spearman


def test_ranks_are_compared_row_by_row():
    a = np.array([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], [5.0, 5.0, 5.0, 5.0]])
    b = np.array([[10.0, 20.0, 30.0, 4e9], [4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
    found = spearman(a, b)
    assert found[:2] == pytest.approx([1.0, -1.0])
    assert np.isnan(found[2])


def test_ties_have_their_mean_rank_wherever_they_stand():
    assert mean_ranks(np.array([5.0, 1.0, 5.0, 2.0])).tolist() == [2.5, 0.0, 2.5, 1.0]
    a, b = np.array([[1.0, 1.0, 2.0, 3.0]]), np.array([[1.0, 2.0, 3.0, 4.0]])
    order = [1, 0, 3, 2]
    assert spearman(a, b) == pytest.approx(spearman(a[:, order], b[:, order]))
    assert spearman(a, b) == pytest.approx([0.9486833])


def test_no_rows_have_no_correlations():
    for k in (1, 4):
        assert spearman(np.empty((0, k)), np.empty((0, k))).shape == (0,)


def test_a_row_that_is_not_all_known_has_no_correlation():
    a, b = np.arange(6.0).reshape(2, 3), np.array([[0.0, np.nan, 2.0], [2.0, 1.0, 0.0]])
    assert np.isnan(spearman(a, b)[0])
    assert spearman(a, b)[1] == pytest.approx(-1.0)
