"""A predictor whose answer is not finite: a schedule stands in, sample by sample, step by step."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nitrogen.model import planning as planning_module
from nitrogen.model import predictor as predictor_module
from nitrogen.model.fallback import mended, stand_in
from nitrogen.model.pipeline import Pipeline
from nitrogen.model.policies import Budget, Static, Threshold
from nitrogen.model.request import Request
from nitrogen.model.sampler import Sampler

NAN, INF = float("nan"), float("inf")
ADAPTIVE = {"threshold": Threshold(0.02), "budget": Budget(0.02), "priced": Budget(0.02, 1e-9)}
adaptive = pytest.mark.parametrize("policy", list(ADAPTIVE.values()), ids=list(ADAPTIVE))
TENSORS = ("classes", "enter.weight", "enter.bias", "middle.weight", "residual.bias",
           "widths.weight")  # fmt: skip


def broken(predictor, name="enter.weight", value=NAN):
    predictor = copy.deepcopy(predictor)
    with torch.no_grad():
        dict(predictor.named_parameters())[name].view(-1)[0] = value
    return predictor


@adaptive
@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("eager", [False, True], ids=["one call", "eager"])
def test_broken_weights_give_the_schedules_picture(
    denoiser, predictor, policy, value, eager, monkeypatch
):
    if eager:
        monkeypatch.setattr(predictor_module, "one_call", lambda *tensors: False)
    requests = [Request(0, 1, 5), Request(0, 2, 4, 2.0), Request(0, 3, 5, 1.0, 0.5)]
    sampler = Sampler(denoiser, policy, predictor=broken(predictor, value=value))
    got = sampler.run(requests)
    assert [done.fallbacks for done in got] == [done.num_steps for done in got] == [5, 4, 5]
    # Without a ceiling the step's plan is the schedule's own.
    expected = Sampler(denoiser, Static()).run(requests[:2])
    for done, static in zip(got[:2], expected, strict=True):
        assert torch.equal(done.widths, static.widths)
        assert torch.equal(done.x_0, static.x_0)
    assert all(bool(done.x_0.isfinite().all()) for done in got)
    assert got[2].flops <= 0.5 * got[2].full_flops


@adaptive
@settings(max_examples=25)
@given(
    name=st.sampled_from(TENSORS),
    value=st.sampled_from([NAN, INF, -INF]),
    budget=st.floats(0.25, 1.1),
    guidance=st.sampled_from([1.0, 2.0]),
    solver=st.sampled_from(["dpmpp_2m", "heun", "unipc"]),
    seed=st.integers(0, 2**40),
)
def test_no_broken_weight_breaks_a_picture_or_a_budget(
    denoiser, predictor, policy, name, value, budget, guidance, solver, seed
):
    sampler = Sampler(
        denoiser, policy, predictor=broken(predictor, name, value), solver_name=solver
    )
    request = Request(seed % 3, seed, 5, guidance, budget)
    ledger = sampler.ledger(request)
    if budget * ledger.full_flops < ledger.minimum_flops:
        return
    done = sampler.run([request])[0]
    assert done.flops <= budget * done.full_flops
    assert bool(done.x_0.isfinite().all())
    assert bool((done.widths[0] > 0).all()), "no region is held that was never computed"


@adaptive
def test_only_the_sample_and_the_step_are_replaced(denoiser, predictor, policy, monkeypatch):
    """NaN in one sample's features at one step: its mate is the same to the bit."""
    requests = [Request(0, 1, 6), Request(0, 2, 6)]
    plain = Sampler(denoiser, policy, predictor=predictor).run(requests)
    true_features, calls = planning_module.region_features, []

    def features(x, *args):
        made = true_features(x, *args)
        calls.append(len(made))
        if len(calls) == 3:
            made[1, 0, 0, 0] = NAN
        return made

    monkeypatch.setattr(planning_module, "region_features", features)
    sampler = Sampler(denoiser, policy, predictor=predictor)
    sampler.planner.__dict__["rules"] = None  # features that C++ makes are nobody's to change
    got = sampler.run(requests)
    assert [done.fallbacks for done in got] == [0, 1]
    assert torch.equal(got[0].x_0, plain[0].x_0)
    assert torch.equal(got[1].widths[:2], plain[1].widths[:2])
    schedule = Static().decide(observation_of(sampler, requests, steps=2)).plan.widths[1]
    assert torch.equal(got[1].widths[2], schedule)


def observation_of(sampler, requests, steps):
    state = sampler.start(requests)
    for _ in range(steps):
        state = sampler.step(state)
    live = state.live
    levels = planning_module.Levels(*live.sigma_pair())
    return sampler.planner._observe(live, levels, live.branches)


def test_a_gpu_need_not_be_asked(denoiser, predictor):
    """Where the answer is fine, the way without looking decides the same."""
    sampler = Sampler(denoiser, Budget(0.02), predictor=predictor)
    seen = observation_of(sampler, [Request(0, 1, 6, 1.0, 0.6), Request(1, 2, 6)], steps=3)
    assert mended(seen)[1] is None
    decision = sampler.planner.policy.decide(seen)
    nobody = torch.zeros(2, dtype=torch.bool)
    got = stand_in(decision, Static().decide(seen), nobody, seen)
    assert torch.equal(got.plan.widths, decision.plan.widths)
    assert torch.equal(got.exits, decision.exits)
    assert got.room is decision.room is None


def test_a_tight_budget_computes_regions_in_turn(denoiser, predictor):
    sampler = Sampler(denoiser, Budget(), predictor=broken(predictor))
    done = sampler.run([Request(0, 1, 12, 1.0, 0.25)])[0]
    assert done.fallbacks == 12
    assert bool((done.widths[1:] == 0).any()), "there is not enough for all of them"
    turns = (done.widths[1:] > 0).sum(dim=0)
    assert int(turns.max() - turns.min()) <= 1
    assert int(turns.max()) > 0


def test_exited_regions_stay_held(denoiser, predictor):
    sampler = Sampler(denoiser, Threshold(0.02), predictor=predictor)
    seen = observation_of(sampler, [Request(0, 1, 6)], steps=3)
    gone = torch.zeros_like(seen.exited)
    gone[0, 0] = True
    seen = replace(seen, exited=gone, log_errors=torch.full_like(seen.log_errors, NAN))
    seen, failed = mended(seen)
    made = stand_in(sampler.planner.policy.decide(seen), Static().decide(seen), failed, seen)
    assert torch.equal(made.exits, gone), "what is not known exits nowhere"
    assert bool(seen.log_errors.isfinite().all())


def test_a_pipeline_reports_them(denoiser, predictor):
    classes = [f"c{i}" for i in range(denoiser.arch.num_classes)]
    settings = {"num_inference_steps": 4, "policy": "budget", "budget": 0.6}
    for made, count in ((predictor, 0), (broken(predictor), 4)):
        stats = Pipeline(denoiser, classes, made).generate([0], [1], **settings).stats[0]
        assert stats.fallbacks == count
