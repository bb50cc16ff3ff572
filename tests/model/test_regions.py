"""Regions of a picture: what is pooled to them and spread from them."""

import torch

from nitrogen.model.regions import region_mse, spread_to_pixels


def test_the_error_of_a_region_is_that_of_its_own_pixels():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(2, 16, 8, 3, generator=generator) for _ in range(2))
    found = region_mse(a, b, (4, 2))
    assert found.shape == (2, 4, 2)
    corner = (a - b)[1, 8:12, 4:8].square().mean()
    assert torch.isclose(found[1, 2, 1], corner)


def test_spread_and_compared_a_region_is_as_far_off_as_its_value():
    values = torch.arange(8.0).reshape(1, 4, 2)
    spread = spread_to_pixels(values, 16, 8)
    assert torch.equal(region_mse(spread, torch.zeros_like(spread), (4, 2)), values**2)
