"""Several steps in one call of C++ are the same steps one call at a time, bit for bit."""

import copy
from dataclasses import fields, replace

import pytest
import torch

from nitrogen.kernels.cpu.library import cpu_available
from nitrogen.model import sampler as sampling
from nitrogen.model import whole_steps as together
from nitrogen.model.pipeline import Cancelled, Pipeline
from nitrogen.model.policies import Budget, Full, Static
from nitrogen.model.request import Request
from nitrogen.model.sampler import Sampler

pytestmark = pytest.mark.skipif(not cpu_available(), reason="no compiler, no AVX2")

POLICIES = {
    "a price": Budget(price=1e-10),
    "exits": Budget(0.05, patience=1),
    "patient exits": Budget(0.1, price=1e-10, patience=3),
    "full": Full(),
    "a schedule that holds": Static(widths=(4, 0, 2, 1, 3, 4)),
}
# Guided and not, side by side.
MIXED = [
    Request(0, 1, 6), Request(1, 2, 6, 2.0, 0.6), Request(2, 3, 4, 1.5, 0.4),
    Request(3, 4, 9, 1.0, 0.8, True), Request(1, 5, 5, 1.0, 0.31),
]  # fmt: skip


@pytest.fixture
def calls(monkeypatch):
    """How many steps each call made that made some."""
    made = []

    def counted(*args, **options):
        walked = run(*args, **options)
        made.append(len(walked.widths))
        return walked

    run = together.run_steps
    monkeypatch.setattr(together, "run_steps", counted)
    return made


def one_call_each(monkeypatch):
    """From here on plan, network and end of a step are calls of their own."""
    monkeypatch.setattr(sampling, "whole_steps", lambda *_: None)


def tensors(value):
    """Every tensor of a batch by name."""
    for field in fields(value):
        one = getattr(value, field.name)
        if isinstance(one, torch.Tensor):
            yield field.name, one
        elif isinstance(one, tuple):
            yield from ((field.name, part) for part in one)
        elif one is not None:
            yield from ((f"{field.name}.{name}", part) for name, part in tensors(one))


def assert_same_batch(got, expected):
    for (name, one), (_, other) in zip(tensors(got), tensors(expected), strict=True):
        assert torch.equal(one.nan_to_num(-1), other.nan_to_num(-1)), name


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize(
    ("which", "solver"),
    [
        ("denoiser", "euler"),
        ("denoiser", "dpmpp_2m"),
        ("strided", "euler"),
        ("bounded", "dpmpp_2m"),
    ],
)
def test_runs_are_the_same(request, predictor, calls, monkeypatch, which, name, solver):
    denoiser = request.getfixturevalue(which)
    sampler = Sampler(denoiser, POLICIES[name], predictor=predictor, solver_name=solver)
    plain = [request for request in MIXED if request.guidance_scale == 1]
    got = [*sampler.run(MIXED), *sampler.run(plain)]
    assert max(calls) > 1
    one_call_each(monkeypatch)
    for one, other in zip(got, [*sampler.run(MIXED), *sampler.run(plain)], strict=True):
        assert torch.equal(one.x_0, other.x_0)
        assert torch.equal(one.widths, other.widths)
        assert (one.flops, one.num_steps) == (other.flops, other.num_steps)


@pytest.mark.parametrize("solver", ["euler", "dpmpp_2m"])
@pytest.mark.parametrize("name", POLICIES)
def test_so_is_all_that_is_remembered(denoiser, predictor, calls, monkeypatch, name, solver):
    sampler = Sampler(denoiser, POLICIES[name], predictor=predictor, solver_name=solver)
    state = sampler.steps(sampler.start(MIXED), 3)
    count = calls[0]
    assert count > 1 or name == "exits"
    one_call_each(monkeypatch)
    other = sampler.start(MIXED)
    for _ in range(count):
        other = sampler.step(other)
    assert_same_batch(state.live, other.live)
    for sample, widths in other.trace.items():
        assert torch.equal(torch.stack(state.trace[sample]), torch.stack(widths))


def test_a_call_leaves_its_batch_as_it_was_but_for_the_cache(denoiser, predictor):
    sampler = Sampler(denoiser, Budget(price=1e-10), predictor=predictor)
    state = sampler.start(MIXED)
    before = [one.clone() for name, one in tensors(state.live) if not name.startswith("cache")]
    sampler.steps(state, 3)
    after = [one for name, one in tensors(state.live) if not name.startswith("cache")]
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one.nan_to_num(-1), other.nan_to_num(-1))


def test_a_step_is_a_step(denoiser, predictor, calls):
    sampler = Sampler(denoiser, Budget(price=1e-10), predictor=predictor)
    state = sampler.step(sampler.start(MIXED))
    assert calls == [1]
    assert state.live.step.tolist() == [1] * len(MIXED)


def test_a_prediction_that_is_not_finite_falls_back(denoiser, predictor, calls):
    sampler = Sampler(denoiser, Budget(price=1e-10), predictor=copy.deepcopy(predictor))
    state = sampler.steps(sampler.start(MIXED[:2]), 2)
    with torch.no_grad():
        sampler.planner.predictor.classes[0] = float("nan")
    finished = sampler.steps(state, 4)
    while finished.live.num_samples:
        finished = sampler.steps(finished, 4)
    assert 0 in calls
    assert [f.fallbacks for f in sorted(finished.finished, key=lambda f: f.id)] == [4, 0]


def test_a_wrapped_network_goes_one_call_at_a_time(denoiser, calls):
    class Wrapped(type(denoiser)):
        pass

    wrapped = Wrapped(denoiser.arch)
    wrapped.load_state_dict(denoiser.state_dict())
    Sampler(wrapped, Full()).run([Request(0, 1, 3)])
    assert not calls


def test_a_call_is_bounded(denoiser, calls, monkeypatch):
    sampler = Sampler(denoiser, Full())
    monkeypatch.setattr(together, "MAX_FLOPS", 2.5 * sampler.cost.full_flops)
    sampler.run([Request(0, 1, 5)])
    assert calls == [2, 2, 1]
    calls.clear()
    sampler.run([Request(0, 1, 3, 2.0)])
    assert calls == [1, 1, 1], "two forwards a step under guidance"


def test_whoever_says_stop_waits_for_one_call(denoiser, calls, monkeypatch):
    pipeline = Pipeline(denoiser, ["a", "b", "c"])
    cost = Sampler(denoiser, Full()).cost
    monkeypatch.setattr(together, "MAX_FLOPS", 2.5 * cost.full_flops)
    with pytest.raises(Cancelled):
        pipeline.generate([0], [1], num_inference_steps=5, should_stop=lambda: bool(calls))
    assert calls == [2]


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_a_step_of_nobody_changes_nothing(denoiser, solver):
    sampler = Sampler(denoiser, Full(), solver_name=solver)
    state = sampler.steps(sampler.start([Request(0, 1, 1)]), 1)
    assert not state.live.num_samples
    assert sampler.step(state) is state


def test_nothing_of_a_held_sample_is_read_from_the_network(denoiser, calls):
    """What stands in the place of its D is whatever a call before left there, NaN at worst."""
    sampler = Sampler(denoiser, Static(widths=(4, 0, 2)))
    requests = [Request(0, 1, 3), Request(1, 2, 9), Request(2, 3, 3)]  # two hold the second step

    def second(between):
        state = sampler.step(sampler.start(requests))
        between()
        return sampler.step(state).live

    def poison():
        state = sampler.start(requests)
        live = replace(state.live, x=torch.full_like(state.live.x, float("nan")))
        left = sampler.step(replace(state, live=live)).live
        assert bool(left.denoised.isnan().all())

    expected = second(lambda: None)
    assert_same_batch(second(poison), expected)
    assert bool(expected.x.isfinite().all())
    assert calls == [1] * 5
