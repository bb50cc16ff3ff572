"""Packed weights side by side: the same values, in order, each where a cache line starts."""

import mmap

import pytest
import torch

from nitrogen.kernels.cpu import packing
from nitrogen.kernels.cpu.packing import HUGE, LINE, huge_pages, side_by_side


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


@pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="the system has no huge pages")
def test_huge_pages_are_asked_for_and_begin_where_one_may(monkeypatch):
    advised = []

    class Mapping(mmap.mmap):
        def madvise(self, *advice):
            advised.append(advice)
            return super().madvise(*advice)

    monkeypatch.setattr(packing.mmap, "mmap", Mapping)
    assert huge_pages(1000).data_ptr() % HUGE == 0
    assert advised == [(mmap.MADV_HUGEPAGE,)]


def test_without_such_memory_there_is_the_usual(monkeypatch):
    def refused(*_, **__):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(packing.mmap, "mmap", refused)
    assert huge_pages(1000).shape == (1000,)


def test_nothing_is_packed_as_nothing():
    assert side_by_side([None, None]) == [None, None]
