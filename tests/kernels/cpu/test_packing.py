"""Packed weights side by side: the same values, in order, each where a cache line starts."""

import pytest
import torch

from nitrogen.kernels.cpu.packing import LINE, huge_pages, side_by_side


def test_values_lie_in_order_on_cache_lines():
    packed = [torch.randn(3, 5, 16), None, torch.randn(7), torch.tensor(2.0), torch.randn(33)]
    found = side_by_side(packed)
    assert found[1] is None
    kept = [(one, other) for one, other in zip(packed, found, strict=True) if one is not None]
    assert all(torch.equal(one, other) for one, other in kept)
    addresses = [other.data_ptr() for _, other in kept]
    assert addresses == sorted(addresses)
    assert all(address % (4 * LINE) == 0 for address in addresses)
    end = addresses[-1] + 4 * packed[-1].numel()
    assert end - addresses[0] == 4 * (240 + LINE + LINE + 33), "and close to each other"


def test_what_was_packed_is_left_alone():
    one = torch.zeros(20)
    (found,) = side_by_side([one])
    found.fill_(1.0)
    assert not one.any()


@pytest.mark.parametrize("size", [0, 1, 5, 3 << 19])
def test_memory_has_the_size_asked_for_and_is_its_own(size):
    one, other = huge_pages(size), huge_pages(size)
    assert one.shape == (size,)
    assert one.dtype == torch.float32
    one.fill_(1.0)
    assert not other.eq(1.0).any()


def test_memory_goes_on_to_be_there_when_only_a_part_is_held():
    part = huge_pages(1000)[990:]
    part.copy_(torch.arange(10.0))
    for _ in range(20):
        huge_pages(1000).fill_(3.0)
    assert part.tolist() == list(range(10))


def test_nothing_is_packed_as_nothing():
    assert side_by_side([None, None]) == [None, None]
