"""The dense path, the path over rows, and what a held region leaves alone."""

from itertools import pairwise

import pytest
import torch

from nitrogen.kernels.dispatch import plan_rows
from nitrogen.kernels.plan import RowSet
from nitrogen.model import regions
from nitrogen.model.cache import empty_cache
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.errors import ShapeError
from nitrogen.model.regions import Plan, full_plan, region_grid


def inputs(num, height=32, width=32):
    generator = torch.Generator().manual_seed(7)
    x_t = torch.randn(num, height, width, 3, generator=generator)
    sigma = torch.rand(num, generator=generator) * 3 + 0.01
    return x_t, sigma, torch.arange(num) % 4  # 3 is the dropped label


def run(denoiser, widths, x_t, sigma, labels, cache=None):
    cache = cache or empty_cache(denoiser.arch, *x_t.shape[:3])
    return denoiser(x_t, sigma, labels, plan=Plan(widths), cache=cache)


@pytest.mark.parametrize("quarters", [1, 2, 3, 4])
def test_dense_and_row_paths_agree(denoiser, arch, quarters):
    x_t, sigma, labels = inputs(5)
    dense, _ = denoiser(x_t, sigma, labels, quarters=quarters)
    widths = torch.full((5, *region_grid(arch, 32, 32)), quarters)
    rows, _ = run(denoiser, widths, x_t, sigma, labels)
    torch.testing.assert_close(rows, dense, atol=1e-5, rtol=0)


def test_widths_differ(denoiser):
    answers = [denoiser(*inputs(2), quarters=q)[0] for q in (1, 2, 3, 4)]
    for narrow, wide in pairwise(answers):
        assert (narrow - wide).abs().max() > 1e-4


def test_alone_equals_in_a_batch_bit_for_bit(denoiser):
    x_t, sigma, labels = inputs(6)
    widths = torch.randint(1, 5, (6, 4, 4), generator=torch.Generator().manual_seed(1))
    together, _ = run(denoiser, widths, x_t, sigma, labels)
    for i in range(6):
        part = slice(i, i + 1)
        alone, _ = run(denoiser, widths[part], x_t[part], sigma[part], labels[part])
        assert torch.equal(alone[0], together[i])


def test_permuted_batch_equals_itself_bit_for_bit(denoiser):
    x_t, sigma, labels = inputs(6)
    widths = torch.randint(0, 5, (6, 4, 4), generator=torch.Generator().manual_seed(2))
    _, warm = run(denoiser, full_plan(6, (4, 4), 2).widths, x_t, sigma, labels)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    in_order, _ = run(denoiser, widths, x_t, sigma, labels, warm.select(torch.arange(6)))
    permuted, _ = run(
        denoiser, widths[order], x_t[order], sigma[order], labels[order], warm.select(order)
    )
    assert torch.equal(permuted, in_order[order])


def test_rows_in_permuted_order_give_the_bits_of_rows_in_order(denoiser, monkeypatch):
    x_t, sigma, labels = inputs(5)
    widths = torch.randint(1, 5, (5, 4, 4), generator=torch.Generator().manual_seed(3))
    in_order, _ = run(denoiser, widths, x_t, sigma, labels)
    generator, moved = torch.Generator().manual_seed(4), []

    def shuffled(*args):
        rows = plan_rows(*args)
        held, *sizes = rows.counts.tolist()
        groups = rows.rows.split([*sizes, held])
        mixed = [g[torch.randperm(len(g), generator=generator)] for g in groups]
        moved.append(not torch.equal(torch.cat(mixed), rows.rows))
        return RowSet(torch.cat(mixed), rows.counts)

    monkeypatch.setattr(regions, "plan_rows", shuffled)
    permuted, _ = run(denoiser, widths, x_t, sigma, labels)
    assert all(moved)
    assert torch.equal(permuted, in_order)


def test_held_rows_keep_what_the_cache_held(denoiser):
    x_t, sigma, labels = inputs(2)
    _, warm = run(denoiser, full_plan(2, (4, 4), 2).widths, x_t, sigma, labels)
    before = [m.clone() for m in warm.maps()]
    widths = full_plan(2, (4, 4), 2).widths
    widths[:, :, 2:] = 0  # the right half is held
    _, after = run(denoiser, widths, x_t * 0.5, sigma, labels, warm)
    for old, new in zip(before, after.maps(), strict=True):
        half = old.shape[2] // 2
        assert torch.equal(new[:, :, half:], old[:, :, half:])
        assert not torch.equal(new[:, :, :half], old[:, :, :half])


def test_level_caps_narrow_single_levels(denoiser):
    x_t, sigma, labels = inputs(2)
    widths = full_plan(2, (4, 4), 2).widths
    caps = torch.tensor([[4, 4], [1, 2]])
    plan = Plan(widths, caps)
    out, _ = denoiser(x_t, sigma, labels, plan=plan, cache=empty_cache(denoiser.arch, 2, 32, 32))
    full, _ = run(denoiser, widths, x_t, sigma, labels)
    assert torch.equal(out[0], full[0])
    assert not torch.equal(out[1], full[1])


@pytest.mark.parametrize("side", [16, 40, 256])
def test_same_network_at_other_sizes(denoiser, side):
    x_t, sigma, labels = inputs(1, side, side)
    dense, _ = denoiser(x_t, sigma, labels)
    assert dense.shape == x_t.shape
    assert bool(dense.isfinite().all())


def test_wrong_shapes_are_refused(denoiser, arch):
    with pytest.raises(ShapeError, match="multiple of 4 px"):
        denoiser(*inputs(1, 30, 32))
    with pytest.raises(ShapeError, match="multiple of 8 px"):
        region_grid(arch, 36, 32)


def test_gradients_flow_through_the_row_path(arch):
    net = Denoiser(arch)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.05
    cache = empty_cache(arch, 2, 32, 32)
    out, _ = net(*inputs(2), plan=full_plan(2, (4, 4), 2), cache=cache)
    out.square().mean().backward()
    assert all(p.grad is not None for p in net.parameters())
    assert all(float(m.abs().max()) == 0 for m in cache.maps())  # training never writes in place
