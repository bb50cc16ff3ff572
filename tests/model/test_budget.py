"""The knapsack: never above what is available, best gains first, caps respected."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nitrogen.model import budget
from nitrogen.model.budget import FORCED, allocate, concave

FLOPS = torch.tensor([0.0, 30.0, 50.0, 70.0, 90.0], dtype=torch.float64)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), available=st.floats(0, 2000), regions=st.integers(1, 20))
def test_never_above_available(seed, available, regions):
    generator = torch.Generator().manual_seed(seed)
    gain = torch.randn(3, regions, 5, generator=generator)
    gain[..., 0] = 0
    caps = torch.randint(0, 5, (3, regions), generator=generator)
    room = torch.full((3,), available, dtype=torch.float64)
    widths = allocate(gain, FLOPS, room, caps)
    assert bool((FLOPS[widths].sum(dim=1) <= room).all())
    assert bool((widths <= caps).all())


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6), available=st.floats(0, 2000), regions=st.integers(1, 20),
    price=st.sampled_from([0.0, 0.005, 0.02]), shift=st.sampled_from([0.0, FORCED]),
)  # fmt: skip
def test_in_one_call_it_is_the_same(seed, available, regions, price, shift):
    generator = torch.Generator().manual_seed(seed)
    gain = torch.randn(2, regions, 5, generator=generator, dtype=torch.float64)
    gain = gain.round(decimals=1)  # ties
    gain[torch.rand(gain.shape, generator=generator) < 0.05] = torch.nan
    gain[torch.rand(gain.shape, generator=generator) < 0.02] = torch.inf
    gain[torch.rand(gain.shape, generator=generator) < 0.02] = -torch.inf
    gain[..., 0] = 0
    gain[..., 1:] += shift
    caps = torch.randint(0, 5, (2, regions), generator=generator)
    room = torch.full((2,), available, dtype=torch.float64)
    widths = allocate(gain, FLOPS, room, caps, price)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget, "one_call", lambda *_: False)
        assert torch.equal(widths, allocate(gain, FLOPS, room, caps, price))


def test_everything_is_bought_when_it_is_worth_it_and_affordable():
    gain = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0]).expand(1, 6, 5)
    widths = allocate(gain, FLOPS, torch.tensor([1e9]).double(), torch.full((1, 6), 4))
    assert bool((widths == 4).all())


def test_the_largest_gain_is_bought_first():
    gain = torch.zeros(1, 4, 5)
    gain[0, 2, 1:] = torch.tensor([3.0, 3.1, 3.2, 3.3])
    gain[0, 0, 1:] = 1.0
    widths = allocate(gain, FLOPS, torch.tensor([30.0]).double(), torch.full((1, 4), 4))
    assert widths[0].tolist() == [0, 0, 1, 0]


def test_nothing_is_bought_without_a_gain():
    gain = torch.full((1, 4, 5), -1.0)
    gain[..., 0] = 0
    widths = allocate(gain, FLOPS, torch.tensor([1e9]).double(), torch.full((1, 4), 4))
    assert bool((widths == 0).all())


def test_non_finite_gains_buy_nothing():
    gain = torch.full((1, 4, 5), float("nan"))
    widths = allocate(gain, FLOPS, torch.tensor([1e9]).double(), torch.full((1, 4), 4))
    assert bool((widths == 0).all())


def test_concave_majorant():
    gain = torch.tensor([0.0, 0.1, 0.2, 0.3, 4.0], dtype=torch.float64)
    got = concave(gain, FLOPS)
    slopes = got.diff() / FLOPS.diff()
    assert bool((got >= gain).all())
    assert bool((slopes.diff() <= 1e-12).all())


def test_a_forced_first_step_still_ranks_small_gains():
    gain = torch.tensor([0.0, 5e-5, 7e-5, 9e-5, 1e-4], dtype=torch.float64).expand(1, 4, 5).clone()
    gain[..., 1:] += FORCED
    widths = allocate(gain, FLOPS, torch.tensor([1e9]).double(), torch.full((1, 4), 4))
    assert bool((widths == 4).all())
