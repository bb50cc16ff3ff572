"""Steps planned and made in one call of C++ are the steps by parts: same plan, cost and x."""

import math
from dataclasses import replace

import pytest
import torch

from nitrogen.kernels.cpu.library import cpu_available
from nitrogen.model import sampler as sampling
from nitrogen.model.policies import Budget, Full, Random, Static, Threshold
from nitrogen.model.request import Request
from nitrogen.model.sampler import Sampler

pytestmark = pytest.mark.skipif(not cpu_available(), reason="no compiler, no AVX2")

KNOWN = {
    "equal shares": Budget(),
    "a price": Budget(price=1e-10),
    "a high price": Budget(price=1e-8),
    "exits": Budget(0.05, patience=1),
    "patient exits": Budget(0.1, price=1e-10, patience=3),
    "no older than": Budget(price=1e-7, max_age=1),
    "full": Full(),
    "a prediction for nothing": Full(needs_predictor=True),
    "a schedule": Static(widths=(4, 0, 2, 1, 3, 4)),
    "a short one": Static(widths=(1, 4)),
}
MIXED = [
    Request(0, 1, 6), Request(1, 2, 6, 1.0, 0.6), Request(2, 3, 4, 1.0, 0.4),
    Request(3, 4, 9, 1.0, 0.8, True), Request(1, 5, 5, 1.0, 0.31),
]  # fmt: skip


def by_parts(sampler):
    """The same sampler, which asks C++ neither for plans nor for what follows from D."""
    sampler.planner.__dict__["rules"] = None  # as cached
    sampler.steps_in_one_call = False
    return sampler


def both(denoiser, policy, predictor, **options):
    made = [Sampler(denoiser, policy, predictor=predictor, **options) for _ in range(2)]
    return made[0], by_parts(made[1])


def assert_same(got, expected):
    for one, other in zip(got, expected, strict=True):
        assert torch.equal(one.widths, other.widths)
        assert (one.flops, one.num_steps) == (other.flops, other.num_steps)
        assert torch.allclose(one.x_0, other.x_0, atol=1e-5)


@pytest.mark.parametrize("solver", ["euler", "dpmpp_2m", "heun", "unipc"])
@pytest.mark.parametrize("name", KNOWN)
def test_a_run_is_that_of_the_parts(denoiser, predictor, name, solver):
    whole, parts = both(denoiser, KNOWN[name], predictor, solver_name=solver)
    assert_same(whole.run(MIXED), parts.run(MIXED))


@pytest.mark.parametrize("name", KNOWN)
def test_guided_strided_and_bounded_too(predictor, strided, bounded, name):
    guided = [replace(request, guidance_scale=1.5 + i % 2) for i, request in enumerate(MIXED)]
    whole, parts = both(strided, KNOWN[name], predictor)
    assert_same(whole.run([*guided, MIXED[0]]), parts.run([*guided, MIXED[0]]))
    whole, parts = both(bounded, KNOWN[name], predictor)
    assert_same(whole.run(MIXED), parts.run(MIXED))


@pytest.mark.parametrize("name", KNOWN)
def test_every_step_is_planned_the_same(denoiser, predictor, name):
    """Exits, what is remembered, and what is said of the batch, at every step."""
    whole, parts = both(denoiser, KNOWN[name], predictor)
    state = whole.start(MIXED)
    exited = 0
    while state.live.num_samples:
        one, other = whole.planner.plan(state.live), parts.planner.plan(state.live)
        assert torch.equal(one.plan.widths, other.plan.widths)
        assert torch.equal(one.exits, other.exits)
        assert torch.equal(one.flops, other.flops)
        if other.calm is not None:
            assert torch.equal(one.calm, other.calm)
        if other.log_residual is not None:
            assert torch.equal(one.log_residual, other.log_residual)
        busy = (one.plan.widths > 0).flatten(1).any(dim=1)
        assert one.everyone_busy is bool(busy.all())
        assert one.someone_exited is bool(one.exits.flatten(1).all(dim=1).any())
        exited += int(one.exits.sum())
        state = whole.step(state)
    assert (exited > 0) == ("exits" in name)


def test_a_sample_alone_is_itself_in_a_batch(denoiser, predictor):
    sampler = Sampler(denoiser, Budget(0.05, price=1e-10), predictor=predictor)
    together = sampler.run(MIXED)
    for request, expected in zip(MIXED, together, strict=True):
        alone = sampler.run([request])[0]
        assert torch.equal(alone.x_0, expected.x_0)
        assert alone.flops == expected.flops


def test_a_policy_that_it_does_not_know_goes_by_parts(denoiser, predictor):
    class Mine(Budget):
        pass

    for policy in (Random(), Threshold(), Static(), Mine()):
        assert Sampler(denoiser, policy, predictor=predictor).planner.rules is None


def test_what_is_no_batch_is_refused(denoiser, predictor):
    sampler = Sampler(denoiser, Budget(), predictor=predictor)
    live = sampler.start(MIXED[:2]).live
    with pytest.raises(TypeError, match="step"):
        sampler.planner.plan(replace(live, step=live.step[:1]))
    with pytest.raises(IndexError, match="steps below num_steps"):
        sampler.planner.plan(replace(live, step=live.num_steps))
    with pytest.raises(IndexError, match="labels"):
        sampler.planner.plan(replace(live, labels=live.labels + 100))


def test_nothing_of_a_held_region_is_read_from_the_network(denoiser, predictor, monkeypatch):
    """D of held regions is whatever the network left there, NaN at worst."""
    real, calls = sampling.denoise, []

    def poisoned(net, live, x, levels, plan, last, everyone=None):
        fresh, *caches = real(net, live, x, levels, plan, last, everyone)
        held = sampling.spread_to_pixels(plan.widths == 0, *x.shape[1:3])
        calls.append(bool(held.any()))
        return torch.where(held, math.nan, fresh), *caches

    requests = [Request(0, 1, 8, 1.0, 0.4), Request(1, 2, 8, 1.0, 0.5)]
    sampler = Sampler(denoiser, Budget(), predictor=predictor)
    expected = sampler.run(requests)
    assert any(bool((done.widths == 0).any()) for done in expected)
    monkeypatch.setattr(sampling, "denoise", poisoned)
    monkeypatch.setattr(sampling, "whole_steps", lambda *_: None)
    for got, wanted in zip(sampler.run(requests), expected, strict=True):
        assert torch.equal(got.x_0, wanted.x_0)
    assert any(calls)
