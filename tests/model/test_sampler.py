"""The sampler's promises: budgets, batch independence, exits, mixed batches."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nitrogen.model.errors import BudgetError, ModelError
from nitrogen.model.policies import Budget, Full, Oracle, Random, Static, Threshold, make_policy
from nitrogen.model.request import Request
from nitrogen.model.sampler import Sampler
from nitrogen.model.schedules import karras_sigmas, sampling_sigmas
from nitrogen.model.solvers import SOLVERS, sample_dense
from nitrogen.model.start import noise


def flat_errors(observation):
    """A stand-in for a teacher: every width twice as good as the next narrower one."""
    return torch.tensor([1.0, 0.5, 0.25, 0.12, 0.06]).expand(*observation.exited.shape, 5)


POLICIES = {
    "full": Full(),
    "static": Static(),
    "random": Random(0.3),
    "threshold": Threshold(0.02),
    "budget": Budget(),
    "budget with exits": Budget(0.02),
    "oracle": Oracle(flat_errors),
}
every_policy = pytest.mark.parametrize("policy", list(POLICIES.values()), ids=list(POLICIES))


def make(denoiser, predictor, policy, solver="dpmpp_2m"):
    return Sampler(denoiser, policy, predictor=predictor, solver_name=solver)


@every_policy
@pytest.mark.parametrize("solver", list(SOLVERS))
def test_alone_equals_in_a_mixed_batch(denoiser, predictor, policy, solver):
    sampler = make(denoiser, predictor, policy, solver)
    requests = [
        Request(0, 1, 4), Request(1, 2, 6, 2.0), Request(2, 3, 5, 1.0, 0.5), Request(0, 4, 7, 3.0),
    ]  # fmt: skip
    together = sampler.run(requests)
    for request, result in zip(requests, together, strict=True):
        alone = sampler.run([request])[0]
        assert torch.equal(alone.x_0, result.x_0)
        assert alone.flops == result.flops


def test_a_strided_denoiser_alone_equals_in_a_mixed_batch(strided, predictor):
    sampler = make(strided, predictor, Budget(), "unipc")  # Euler, whatever is asked
    requests = [Request(0, 1, 4), Request(1, 2, 6, 2.0), Request(2, 3, 5, 1.0, 0.5)]
    for request, result in zip(requests, sampler.run(requests), strict=True):
        assert torch.equal(sampler.run([request])[0].x_0, result.x_0)
    full = make(strided, None, Full()).run([Request(1, 5, 6)])[0].x_0
    eps, labels = noise(5, full.shape)[None], torch.tensor([1])
    dense = sample_dense(strided, eps, labels, sampling_sigmas(6, strided.arch), "dpmpp_2m")[0]
    assert torch.allclose(full, dense, atol=1e-5)


@every_policy
def test_joining_late_changes_nothing(denoiser, predictor, policy):
    sampler = make(denoiser, predictor, policy)
    first, second = Request(1, 10, 6), Request(2, 20, 5)
    state = sampler.step(sampler.step(sampler.start([first])))
    state = state.join(sampler.start([second], first_id=1))
    while state.live.num_samples:
        state = sampler.step(state)
    joined = sorted(state.finished, key=lambda f: f.id)
    for request, result in zip((first, second), joined, strict=True):
        assert torch.equal(sampler.run([request])[0].x_0, result.x_0)


@pytest.mark.parametrize(
    ("policy", "solver"),
    [*((name, "dpmpp_2m") for name in POLICIES), ("budget", "heun"), ("random", "unipc")],
)
def test_guided_and_unguided_join_at_any_step(denoiser, predictor, policy, solver):
    """Two batches that differ in guidance, joined at every step of the longer one."""
    policy = POLICIES[policy]
    sampler = make(denoiser, predictor, policy, solver)
    for requests in (
        (Request(1, 10, 3), Request(2, 20, 2, 2.0)),
        (Request(1, 10, 3, 3.0, 0.7), Request(2, 20, 2)),
    ):
        alone = [sampler.run([request])[0] for request in requests]
        for steps_before in range(3):
            state = sampler.start(requests[:1])
            for _ in range(steps_before):
                state = sampler.step(state)
            state = state.join(sampler.start(requests[1:], first_id=1))
            while state.live.num_samples:
                state = sampler.step(state)
            for one, joined in zip(alone, sorted(state.finished, key=lambda f: f.id), strict=True):
                assert torch.equal(one.x_0, joined.x_0)
                assert one.flops == joined.flops
                assert torch.equal(one.widths, joined.widths)


def test_the_unlabelled_branch_leaves_with_the_last_guided_sample(denoiser, predictor):
    sampler = make(denoiser, predictor, Full())
    state = sampler.start([Request(0, 1, 2, 2.0), Request(0, 2, 4)])
    assert state.live.cache_unlabelled is not None
    while state.live.num_samples == 2:
        state = sampler.step(state)
    assert state.live.cache_unlabelled is None


@every_policy
@settings(max_examples=12, deadline=None)
@given(
    budget=st.floats(0.2, 1.2),
    steps=st.integers(3, 7),
    guidance=st.sampled_from([1.0, 2.0]),
    solver=st.sampled_from(list(SOLVERS)),
    seed=st.integers(0, 2**40),
)
def test_budget_is_never_exceeded(
    denoiser, predictor, policy, budget, steps, guidance, solver, seed
):
    sampler = make(denoiser, predictor, policy, solver)
    request = Request(seed % 3, seed, steps, guidance, budget)
    ledger = sampler.ledger(request)
    if budget * ledger.full_flops < ledger.minimum_flops:
        with pytest.raises(BudgetError, match="at least"):
            sampler.start([request])
        return
    result = sampler.run([request])[0]
    assert result.flops <= budget * result.full_flops
    assert bool(result.x_0.isfinite().all())


def test_a_budget_is_used(denoiser, predictor):
    results = [
        make(denoiser, predictor, Budget()).run([Request(0, 0, 8, 1.0, share)])[0]
        for share in (0.3, 0.5, 0.8)
    ]
    spent = [r.flops / r.full_flops for r in results]
    assert spent == sorted(spent)
    assert spent[0] > 0.2


@pytest.mark.parametrize("policy", [Full(), Static(), Random()])
def test_a_budget_lasts_to_the_end(denoiser, predictor, policy):
    result = make(denoiser, predictor, policy).run([Request(0, 0, 10, 1.0, 0.4)])[0]
    assert bool((result.widths.flatten(1).sum(dim=1) > 0).all())


def test_minimum_budget_is_named_and_enough(denoiser, predictor):
    sampler = make(denoiser, predictor, Budget())
    request = Request(0, 0, 5)
    ledger = sampler.ledger(request)
    least = ledger.minimum_flops / ledger.full_flops
    with pytest.raises(BudgetError, match=f"{least:.4f}"):
        sampler.start([replace(request, budget=least * 0.99)])
    result = sampler.run([replace(request, budget=least + 1e-6)])[0]
    assert bool((result.widths[1:] == 0).all())


@pytest.mark.parametrize("solver", list(SOLVERS))
def test_full_policy_equals_the_dense_sampler(denoiser, predictor, solver):
    result = make(denoiser, predictor, Full(), solver).run([Request(1, 5, 6)])[0]
    eps = noise(5, (32, 32, 3))[None]
    dense = sample_dense(denoiser, eps, torch.tensor([1]), karras_sigmas(6), solver)[0]
    torch.testing.assert_close(result.x_0, dense, atol=1e-4, rtol=0)
    assert result.flops == result.full_flops


def test_exited_regions_keep_their_denoised(denoiser, predictor):
    sampler = make(denoiser, predictor, Threshold(4.0))  # everything is good enough
    state = sampler.start([Request(0, 3, 12)])
    while state.live.num_samples and not bool(state.live.exited.all()):
        before = state
        state = sampler.step(state)
    assert state.finished, "a sample whose regions have all exited leaves the batch"
    assert state.finished[0].num_steps < 12
    assert torch.equal(state.finished[0].x_0, before.live.denoised[0])


def test_guidance_one_is_the_conditional_model(denoiser, predictor):
    sampler = make(denoiser, predictor, Full())
    plain, guided = sampler.run([Request(1, 5, 4), Request(1, 5, 4, 4.0)])
    assert not torch.equal(plain.x_0, guided.x_0)
    assert guided.full_flops == 2 * plain.full_flops


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"label": 9}, "label"),
        ({"seed": -1}, "seed"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"guidance_scale": float("nan")}, "guidance_scale"),
        ({"budget": float("nan")}, "budget"),
        ({"budget": -1.0}, "budget"),
    ],
)
def test_bad_requests_name_the_field(denoiser, predictor, changes, field):
    with pytest.raises(ModelError, match=field):
        make(denoiser, predictor, Full()).start([replace(Request(0, 0), **changes)])


@pytest.mark.parametrize(
    ("name", "threshold", "budget", "words"),
    [
        ("full", 0.1, None, "threshold must be left out for policy 'full'"),
        ("static", 0.1, 0.5, "threshold must be left out for policy 'static'"),
        ("budget", None, None, "budget must be given"),
        ("threshold", float("nan"), None, "threshold must be 0 to 4"),
        ("oracle", None, None, "policy must be one of full, static"),
    ],
)
def test_a_dial_that_a_policy_does_not_read_is_refused(name, threshold, budget, words):
    with pytest.raises(ModelError, match=words):
        make_policy(name, threshold, budget)
