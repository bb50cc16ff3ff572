"""The planner with a price: steps of large gain get more, and no ceiling is passed."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nitrogen.model.budget import plan_flops
from nitrogen.model.config import ArchConfig
from nitrogen.model.cost import CostModel
from nitrogen.model.observation import Observation, new_past
from nitrogen.model.policies import Budget, Full
from nitrogen.model.request import Request
from nitrogen.model.sampler import Sampler

ARCH = ArchConfig(
    image_size=32, patch_size=2, channels=(16, 32), num_blocks=(1, 2), num_attention_blocks=1,
    head_channels=16, cond_channels=16, num_classes=3,
)  # fmt: skip


def observation(b, budget, step, gain_scale, num_steps=6):
    cost = CostModel(ARCH, 32, 32)
    generator = torch.Generator().manual_seed(step)
    log_errors = torch.randn(b, *cost.grid, 5, generator=generator).sort(descending=True).values
    past = new_past(b, cost.grid)
    past = replace(past, quarters=torch.full_like(past.quarters, 1 if step else 0))
    one = torch.ones(b)
    left = torch.full((b,), budget * num_steps * cost.full_flops, dtype=torch.float64)
    return Observation(
        torch.zeros(b, 32, 32, 3), torch.zeros(b, 32, 32, 3), one.long(), one.long(), one * 2, one,
        (one * step).long(), (one * num_steps).long(),
        (one * num_steps).long(), num_steps, past, torch.zeros(b, *cost.grid).bool(),
        left, one.long(), (one * (num_steps - step)).long(), cost,
        log_errors=log_errors + math.log(gain_scale),
    )  # fmt: skip


def test_a_price_buys_less_the_higher_it_is():
    seen = observation(3, 1.0, 2, 1.0)
    spent = [
        float(plan_flops(Budget(price=price).decide(seen).plan.widths, seen.cost).sum())
        for price in (1e-12, 1e-8, 1e-7, 1e-6, 1.0)
    ]
    assert spent == sorted(spent, reverse=True)
    assert spent[0] > spent[2] > spent[-1] == 0


def test_a_step_of_large_gain_gets_more_than_its_share():
    price = 1e-6
    share = Budget().decide(observation(2, 0.5, 1, 10.0)).plan.widths
    large = Budget(price=price).decide(observation(2, 0.5, 1, 10.0)).plan.widths
    small = Budget(price=price).decide(observation(2, 0.5, 1, 1e-4)).plan.widths
    cost = CostModel(ARCH, 32, 32)
    assert (plan_flops(large, cost) > plan_flops(share, cost)).all()
    assert (plan_flops(small, cost) < plan_flops(share, cost)).all()


@given(st.floats(0.3, 1.0), st.integers(0, 5), st.floats(1e-12, 1e-5))
def test_the_room_leaves_a_narrow_forward_for_every_later_step(budget, step, price):
    seen = observation(2, budget, step, 1.0)
    decision = Budget(price=price).decide(seen)
    spent = plan_flops(decision.plan.widths, seen.cost)
    narrow = seen.cost.fixed_flops + seen.cost.num_regions * seen.cost.block_rows(1)
    share = seen.budget_left / seen.forwards_left
    left = seen.budget_left - spent
    later = (seen.forwards_left - 1).double() * narrow
    # The first forward is set aside whatever the budget.
    first = (seen.step == 0) & (spent <= narrow + 1)
    assert ((left >= later - 1) | (spent <= share + 1) | first).all()


def test_a_priced_run_keeps_its_ceiling(denoiser, predictor):
    for price in (1e-12, 1e-9, 1e-7):
        for share in (0.35, 0.6, 0.9):
            sampler = Sampler(denoiser, Budget(price=price), predictor=predictor)
            for done in sampler.run([Request(i % 3, i, 6, 1.0, share) for i in range(4)]):
                assert done.flops <= share * done.full_flops


class Greedy:
    """Claims all the room there is, at every step."""

    needs_predictor = False

    def decide(self, observation):
        decision = Full().decide(observation)
        return replace(decision, room=torch.full_like(observation.budget_left, math.inf))


@pytest.mark.parametrize("solver", ["dpmpp_2m", "heun"])
def test_a_policy_that_claims_more_room_than_is_left_keeps_the_ceiling(denoiser, solver):
    sampler = Sampler(denoiser, Greedy(), solver_name=solver)
    requests = [Request(0, 1, 6, 1.0, 0.5), Request(1, 2, 4, 2.0, 0.6)]
    for request, done in zip(requests, sampler.run(requests), strict=True):
        assert done.flops <= request.budget * done.full_flops
