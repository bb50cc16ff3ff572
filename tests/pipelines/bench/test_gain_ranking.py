"""Predicted against true gains of regions."""

import numpy as np
import pytest

from nitrogen.pipelines.bench import gain_ranking as module
from nitrogen.pipelines.bench.gain_ranking import (
    GAINS,
    Watching,
    gain_ranking,
    mean_ranks,
    spearman,
)


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


@pytest.mark.parametrize("which", ["models", "strided"])
def test_a_predictor_that_knows_the_errors_ranks_gains_perfectly(
    which, drawn, monkeypatch, request
):
    models = request.getfixturevalue(which)
    found = gain_ranking(models, drawn, 4)
    assert found["n"] == len(drawn)
    assert set(found["gains"]) == set(GAINS)
    assert all(-1 <= one["value"] <= 1 for one in found["gains"].values())
    assert any(one["value"] < 0.9 for one in found["gains"].values()), "an untrained predictor"

    true = {}

    def remembered(self, observation):
        target = module.true_denoised(self.teacher, self.student.arch.strided, observation)
        answers = [self._answer(observation, q) for q in range(1, 5)]
        errors = [self._error(a, target, observation) for a in [observation.denoised, *answers]]
        true["errors"] = module.torch.stack(errors, dim=-1)
        return decide(self, observation)

    decide = Watching.decide
    monkeypatch.setattr(Watching, "decide", remembered)
    monkeypatch.setattr(module, "errors_of", lambda observation: true["errors"])
    exact = gain_ranking(models, drawn, 4)
    assert [one["value"] for one in exact["gains"].values()] == pytest.approx([1.0, 1.0])
