"""Pictures that leave a batch are the same pictures, made in fewer steps of fewer."""

import torch

from nitrogen.pipelines.bench import leaving
from nitrogen.pipelines.bench.leaving import LEAVING, NUM_STEPS, STAYING, Staying, mixed
from nitrogen.pipelines.bench.step_networks import trained
from nitrogen.pipelines.trained_models import model_directory


def test_both_ways_make_the_same_pictures(monkeypatch):
    networks, made = trained(model_directory(None), "cpu"), {}

    def kept(self, requests, kind, name):
        made[name] = kind.run(self, requests)
        return made[name]

    def watched(kind, name):
        return type(name, (kind,), {"run": lambda self, requests: kept(self, requests, kind, name)})

    monkeypatch.setattr(leaving, "Sampler", watched(leaving.Sampler, LEAVING))
    monkeypatch.setattr(leaving, "Staying", watched(Staying, STAYING))
    records = {" ".join((r["provider"], r["case"])): r for r in leaving.run(networks, 4, 2)}
    assert len(set(records[LEAVING]["num_steps"])) > 1, "of mixed difficulty"
    assert records[STAYING]["num_steps"] == [NUM_STEPS] * 4
    assert records[STAYING]["of_staying"] == 1
    assert records[LEAVING]["of_staying_interval"][0] > 0
    for one, other in zip(made[LEAVING], made[STAYING], strict=True):
        assert torch.equal(one.x_0, other.x_0)
    assert len({request.label for request in mixed(networks, 4)}) == 4
