"""Predicted against true gains of regions."""

import pytest

from nitrogen.pipelines.bench import gain_ranking as module
from nitrogen.pipelines.bench.gain_ranking import GAINS, WatchingGains, gain_ranking


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

    decide = WatchingGains.decide
    monkeypatch.setattr(WatchingGains, "decide", remembered)
    monkeypatch.setattr(module, "errors_of", lambda observation: true["errors"])
    exact = gain_ranking(models, drawn, 4)
    assert [one["value"] for one in exact["gains"].values()] == pytest.approx([1.0, 1.0])
