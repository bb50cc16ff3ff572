"""Plans of training: the policy's stay within their budget, and random ones see everything."""

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
from nitrogen.model.relay import RelayTable
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


def test_strides_are_drawn_from_every_leg_and_begin_where_it_does():
    relay = RelayTable({5: Leg(2, 3.5, 0.25, 3.0), 8: Leg(3, 2.0, 0.15, 3.0)})
    sigmas = draw_strides(400, relay, seeded())
    assert sigmas.shape == (400, MAX_STEPS + 2)
    assert bool((sigmas.diff(dim=1) < 0).all())
    short, long = (leg.sigmas(steps).float() for steps, leg in relay.rows.items())
    expected = torch.stack([short[:4], long[:4], long[1:5]])
    assert torch.equal(sigmas.unique(dim=0), expected.unique(dim=0))


def test_a_roll_out_of_a_relay_stands_on_its_legs_as_often_as_told(arch):
    leg = Leg(2, 3.5, 0.25, 3.0)
    table, arch = RelayTable({5: leg}), arch.model_copy(update={"strided": True})
    denoiser, cost = Denoiser(arch), CostModel(arch, arch.image_size, arch.image_size)
    levels = leg.sigmas(5).float()
    for share, told in ((0.0, False), (1.0, True)):
        explorer = Explorer(denoiser, Predictor(arch), cost, (4,), 0.3, 1, table, share)
        x_0 = torch.zeros(8, arch.image_size, arch.image_size, arch.image_channels)
        state = explorer.roll_out(x_0, torch.zeros(8, dtype=torch.int64), seeded(), 0.0)
        assert bool(torch.isin(state.sigma_next, levels[1:3]).all()) is told


def test_noise_levels_fall_and_reach_both_ends(arch):
    sigmas = draw_sigmas(400, (8, 12), arch, seeded())
    assert sigmas.shape == (400, MAX_STEPS + 2)
    assert bool((sigmas.diff(dim=1) < 0).all())
    assert sigmas.max() == 80
    assert sigmas.min() == 0
