"""Bounds on the width of each level by noise level: run as planned, charged as run."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from nitrogen.model import conditioning
from nitrogen.model import denoiser as calling
from nitrogen.model.budget import plan_flops
from nitrogen.model.cache import empty_cache
from nitrogen.model.cost import CostModel
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.pipeline import Pipeline
from nitrogen.model.policies import Budget, Full, Static
from nitrogen.model.regions import Plan, full_plan, level_caps
from nitrogen.model.request import Request
from nitrogen.model.sampler import Sampler
from nitrogen.model.schedules import sampling_sigmas

BOUNDS = ((5.0, (1, 2)), (0.5, (3, 1)), (0.0, (2, 4)))
SIGMAS = torch.tensor([80.0, 5.0, 4.9, 0.5, 0.4, 0.002])
CAPS = [[1, 2], [1, 2], [3, 1], [3, 1], [2, 4], [2, 4]]


@pytest.fixture(scope="module")
def bounded_arch(arch):
    return type(arch)(**arch.model_dump() | {"layer_width": BOUNDS})


@pytest.fixture(scope="module")
def bounded(denoiser, bounded_arch):
    """The same weights under bounds."""
    made = Denoiser(bounded_arch).requires_grad_(False).eval()
    made.load_state_dict(denoiser.state_dict())
    return made


def inputs(sigma, seed=0):
    generator = torch.Generator().manual_seed(seed)
    num = len(sigma)
    widths = torch.randint(0, 5, (num, 4, 4), generator=generator)
    return torch.randn(num, 32, 32, 3, generator=generator), torch.zeros(num).long(), widths


def test_every_sigma_has_its_row(bounded_arch, arch):
    assert level_caps(bounded_arch, SIGMAS).tolist() == CAPS
    assert level_caps(arch, SIGMAS) is None


@pytest.mark.parametrize("way", ["whole network", "by parts"])
def test_a_denoiser_runs_the_narrower_of_plan_and_bound(denoiser, bounded, way, monkeypatch):
    if way == "by parts":
        monkeypatch.setattr(calling, "whole_network", lambda *_: None)
    x, labels, widths = inputs(SIGMAS)
    caches = [empty_cache(denoiser.arch, len(SIGMAS), 32, 32) for _ in range(3)]
    got, _ = bounded(x, SIGMAS, labels, plan=Plan(widths), cache=caches[0])
    by_hand = Plan(widths, torch.tensor(CAPS))
    expected, _ = denoiser(x, SIGMAS, labels, plan=by_hand, cache=caches[1])
    free, _ = denoiser(x, SIGMAS, labels, plan=Plan(widths), cache=caches[2])
    assert torch.equal(got, expected)
    assert not torch.equal(got, free)


@pytest.mark.parametrize("sigma", [80.0, 1.0, 0.1])
def test_what_is_run_is_what_is_counted(bounded, bounded_arch, sigma, monkeypatch):
    monkeypatch.setattr(conditioning, "SAMPLE_BLOCK", 1)  # no samples that belong to nobody
    sigma = torch.full((2,), sigma)
    x, labels, widths = inputs(sigma, seed=3)
    cost, cache = CostModel(bounded_arch, 32, 32), empty_cache(bounded_arch, 2, 32, 32)
    # CPU attention is counted only by the math backend.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        bounded(x, sigma, labels, plan=Plan(widths), cache=cache)
    counted = float(plan_flops(widths, cost, sigma).sum())
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.01)
    assert counted < 0.97 * float(plan_flops(widths, cost).sum())


@settings(max_examples=25)
@given(
    budget=st.floats(0.2, 1.0),
    steps=st.integers(2, 7),
    guidance=st.sampled_from([1.0, 2.0]),
    solver=st.sampled_from(["dpmpp_2m", "heun"]),
    widths=st.lists(st.integers(1, 4), min_size=7, max_size=7),
    kind=st.sampled_from(["budget", "static", "full"]),
)
def test_a_ceiling_holds_and_bounds_only_save(
    denoiser, bounded, predictor, budget, steps, guidance, solver, widths, kind
):
    policy = {"budget": Budget(), "static": Static(widths=tuple(widths[:steps])), "full": Full()}
    request = Request(0, 1, steps, guidance, budget)
    sampler = Sampler(bounded, policy[kind], predictor=predictor, solver_name=solver)
    ledger = sampler.ledger(request)
    if budget * ledger.full_flops < ledger.minimum_flops:
        return
    done = sampler.run([request])[0]
    assert done.flops <= budget * done.full_flops
    charged = sum(
        float(plan_flops(step[None], sampler.cost)) * ledger.branches for step in done.widths
    )
    assert done.flops <= charged + steps * sampler.planner.predictor_flops


@pytest.mark.parametrize("solver", ["dpmpp_2m", "heun"])
def test_a_run_costs_what_it_is_charged(bounded, solver, monkeypatch):
    """Heun's second evaluation stands at another noise level, whose bounds are wider."""
    monkeypatch.setattr(conditioning, "SAMPLE_BLOCK", 1)
    sampler = Sampler(bounded, Full(), solver_name=solver)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        done = sampler.run([Request(0, 1, 5)])[0]
    assert done.flops == pytest.approx(counter.get_total_flops(), rel=0.005)


def test_equal_bounds_at_every_sigma_are_a_thin_model(denoiser, arch):
    """All levels at one half: full plans are those of width one half, bits and cost."""
    half = type(arch)(**arch.model_dump() | {"layer_width": ((0.0, (2, 2)),)})
    made = Denoiser(half).requires_grad_(False).eval()
    made.load_state_dict(denoiser.state_dict())
    narrow = Sampler(denoiser, Static(((0.0, 2),))).run([Request(1, 5, 5)])[0]
    bound = Sampler(made, Full()).run([Request(1, 5, 5)])[0]
    assert torch.equal(narrow.x_0, bound.x_0)
    assert narrow.flops == bound.flops < bound.full_flops
    widths = full_plan(1, (4, 4), 2).widths
    assert bool((bound.widths == widths).all())


@pytest.mark.parametrize("solver", ["dpmpp_2m", "heun"])
def test_what_is_shown_is_what_ran_under_the_bounds(denoiser, bounded, bounded_arch, solver):
    steps, caps = 5, level_caps(bounded_arch, sampling_sigmas(5, bounded_arch)[:-1].float())
    asked = {"labels": [0], "seeds": [3], "num_inference_steps": steps, "solver": solver}
    shown = Pipeline(bounded, ["a", "b", "c"]).generate(**asked).stats[0]
    cost = CostModel(bounded_arch, 32, 32)
    forwards = torch.tensor([2] * (steps - 1) + [1]) if solver == "heun" else torch.ones(steps)
    regions = shown.heatmap.double().flatten(1).sum(dim=1) * cost.region_flops[-1]
    ran = float((forwards * (regions + cost.fixed_flops)).sum())
    assert ran == pytest.approx(shown.gflops * 1e9, rel=1e-6)
    assert shown.active_fraction == pytest.approx(float(caps.double().mean()) / 4)
    assert {len(step.unique()) for step in shown.heatmap} == {1}
    free = Pipeline(denoiser, ["a", "b", "c"]).generate(**asked).stats[0]
    assert free.active_fraction == 1
    assert bool((free.heatmap == 1).all())


def test_bounds_are_kept_with_the_model(bounded, predictor, tmp_path):
    Pipeline(bounded, ["a", "b", "c"], predictor).save(tmp_path)
    assert Pipeline.load(tmp_path).arch.layer_width == BOUNDS


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (((0.0, (4,)),), "for each of the levels"),
        (((0.0, (4, 0)),), "1 to 4 quarters"),
        (((0.0, (4, 5)),), "1 to 4 quarters"),
        (((1.0, (4, 4)),), "the last one 0"),
        (((1.0, (4, 4)), (2.0, (4, 4)), (0.0, (4, 4))), "falling sigma"),
        (((float("inf"), (4, 4)), (0.0, (4, 4))), "falling sigma"),
    ],
)
def test_other_bounds_are_refused(arch, bounds, words):
    with pytest.raises(ValueError, match=words):
        type(arch)(**arch.model_dump() | {"layer_width": bounds})
