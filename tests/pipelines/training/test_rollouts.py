"""Plans of training: the policy's stay within their budget, and random ones see everything."""

from itertools import pairwise

import pytest
import torch

from nitrogen.model.budget import plan_flops
from nitrogen.model.cost import CostModel
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.leg import Leg
from nitrogen.model.observation import Observation, new_past, remember
from nitrogen.model.policies import Budget
from nitrogen.model.predictor import Predictor, gains
from nitrogen.model.regions import HELD
from nitrogen.pipelines.training.rollouts import (
    MAX_STEPS,
    Explorer,
    draw_sigmas,
    draw_strides,
    policy_widths,
    random_widths,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def past_after_one_step(cost, num):
    past, widths = new_past(num, cost.grid), torch.ones(num, *cost.grid, dtype=torch.int64)
    return remember(past, widths, torch.zeros(num, *cost.grid), None)


def test_the_policys_plan_keeps_its_budget(arch):
    cost, num = CostModel(arch, 32, 32), 64
    budget = torch.rand(num, generator=seeded())
    gain = torch.rand(num, *cost.grid, 5, generator=seeded(1)).double().cumsum(-1)
    widths = policy_widths(gain, past_after_one_step(cost, num), budget, cost)
    assert bool((plan_flops(widths, cost) <= budget.double() * cost.full_flops).all())
    assert widths.unique().numel() > 2


@pytest.mark.parametrize("step", [0, 3])
def test_a_roll_out_computes_what_sampling_would(arch, step):
    """The plan of training and the `budget` policy's, of the same errors, past and share."""
    cost, num = CostModel(arch, 32, 32), 32
    budget = torch.rand(num, generator=seeded()).double()
    log_errors = torch.randn(num, *cost.grid, 5, generator=seeded(1))
    sigma, sigma_next = torch.full((num,), 2.0), torch.full((num,), 1.0)
    past = past_after_one_step(cost, num) if step else new_past(num, cost.grid)
    picture, forwards = torch.zeros(num, 32, 32, 3), torch.full((num,), 4)
    numbers, none = torch.zeros(num, dtype=torch.int64), torch.zeros(num, *cost.grid).bool()
    observation = Observation(
        picture, picture, numbers, numbers, sigma, sigma_next, numbers + step, numbers + 8,
        numbers + 8, 8, past, none, budget * cost.full_flops * forwards, torch.ones_like(forwards),
        forwards, cost, log_errors,
    )  # fmt: skip
    gain = gains(log_errors, sigma, sigma_next)
    widths = policy_widths(gain, past, budget, cost)
    assert torch.equal(widths, Budget().decide(observation).plan.widths)
    assert widths.unique().numel() > 2
    assert bool((widths > HELD).all()) is (step == 0)


def test_more_budget_never_buys_less(arch):
    cost = CostModel(arch, 32, 32)
    gain = torch.rand(1, *cost.grid, 5, generator=seeded(2)).double().cumsum(-1)
    past = past_after_one_step(cost, 1)
    spent = [
        plan_flops(policy_widths(gain, past, torch.tensor([share]), cost), cost).item()
        for share in torch.linspace(0, 1, 21).tolist()
    ]
    assert spent == sorted(spent)
    assert spent[-1] == cost.full_flops


def test_nothing_is_held_before_it_was_computed(arch):
    cost, num = CostModel(arch, 32, 32), 8
    gain = torch.zeros(num, *cost.grid, 5, dtype=torch.float64)  # nothing is worth anything
    widths = policy_widths(gain, new_past(num, cost.grid), torch.zeros(num), cost)
    assert bool((widths > HELD).all())


def test_random_widths_see_every_width():
    widths = random_widths(torch.Size((64, 4, 4)), seeded(), held_share=0.3)
    counts = torch.bincount(widths.flatten(), minlength=5) / widths.numel()
    assert 0.25 < counts[HELD] < 0.35
    assert bool((counts > 0.05).all())
    assert counts[1] > counts[4]


LEGS = {2: Leg(1, 9.0, 0.2, 3.0), 5: Leg(2, 3.5, 0.25, 3.0), 8: Leg(3, 2.0, 0.15, 3.0)}


@pytest.mark.parametrize("num_steps", [0, 1, 2])
def test_every_stride_of_every_leg_is_stood_before_and_nothing_else(num_steps):
    sigmas = draw_strides(400, tuple(LEGS.values()), num_steps, seeded())
    assert sigmas.shape == (400, MAX_STEPS + 2)
    assert bool((sigmas.diff(dim=1) < 0).all())
    pairs = {(float(a), float(b)) for a, b in sigmas[:, num_steps : num_steps + 2]}
    levels = [leg.sigmas(leg.early + 3).float()[: leg.early + 1].tolist() for leg in LEGS.values()]
    assert pairs == {pair for one in levels for pair in pairwise(one[num_steps:])}


def test_no_leg_has_strides_for_a_long_roll_out():
    assert draw_strides(4, (LEGS[5],), 2, seeded()) is None


@pytest.mark.parametrize("max_steps", [0, 1, 2])
def test_half_of_the_roll_outs_of_a_relay_stand_before_a_stride(arch, max_steps):
    arch = arch.model_copy(update={"strided": True, "stride_sigma_min": 0.15})
    denoiser, cost = Denoiser(arch), CostModel(arch, arch.image_size, arch.image_size)
    levels = LEGS[8].sigmas(8).float()[:4]
    explorer = Explorer(denoiser, Predictor(arch), cost, (4,), 0.3, max_steps, (LEGS[8],))
    x_0 = torch.zeros(128, arch.image_size, arch.image_size, arch.image_channels)
    state = explorer.roll_out(x_0, torch.zeros(128, dtype=torch.int64), seeded(), 0.0)
    on_leg = torch.isin(state.sigma_next, levels[1:])
    assert 0.3 < on_leg.float().mean() < 0.7
    assert bool(torch.isin(state.sigma[on_leg], levels[:3]).all())


def test_noise_levels_fall_and_reach_both_ends(arch):
    sigmas = draw_sigmas(400, (8, 12), arch, seeded())
    assert sigmas.shape == (400, MAX_STEPS + 2)
    assert bool((sigmas.diff(dim=1) < 0).all())
    assert sigmas.max() == 80
    assert sigmas.min() == 0
