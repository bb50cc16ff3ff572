"""plan_rows, region_stats and ode_exit in the interpreter, against their references."""

import pytest
import torch

from nitrogen.kernels import reference
from nitrogen.kernels.gpu.launch import Config, scope
from nitrogen.kernels.gpu.ode_exit import ode_exit
from nitrogen.kernels.gpu.plan_rows import plan_rows
from nitrogen.kernels.gpu.region_stats import region_stats

NAN = float("nan")


@pytest.mark.parametrize("block", [16, 1024])
@pytest.mark.parametrize(("b", "grid", "size"), [(1, (1, 1), (1, 1)), (2, (3, 2), (9, 4))])
def test_plan_rows(b, grid, size, block):
    widths, caps = torch.randint(0, 5, (b, *grid)), torch.randint(0, 5, (b,))
    with scope(configs={"plan_rows": Config({"BLOCK": block})}):
        rows, counts = plan_rows(widths, caps, *size)
    expected = reference.plan_rows_reference(widths, caps, *size)
    assert torch.equal(rows, expected[0])
    assert torch.equal(counts, expected[1])


@pytest.mark.parametrize("quarters", [0, 4])
def test_plan_rows_all_of_one_kind(quarters):
    widths = torch.full((2, 5, 5), quarters)
    rows, counts = plan_rows(widths, torch.full((2,), 4), 40, 25)
    assert torch.equal(rows, torch.arange(2000))
    assert counts[quarters] == 2000


@pytest.mark.parametrize(("grid", "size", "ch"), [((1, 1), (1, 1), 3), ((2, 3), (18, 27), 3)])
def test_region_stats(grid, size, ch, draw):
    denoised, last = draw(2, *size, ch), draw(2, *size, ch)
    got = region_stats(denoised, last, *grid)
    assert got.dtype == torch.float32
    expected = reference.region_stats_reference(denoised, last, *grid)
    assert reference.relative_rms(got, expected) < 2e-6


def test_ode_exit_at_several_sigmas(draw, check):
    x, denoised, last = draw(4, 8, 12, 3), draw(4, 8, 12, 3), draw(4, 8, 12, 3)
    sigma, sigma_next = torch.tensor([80.0, 2.0, 0.5, 3.0]), torch.tensor([60.0, 1.98, 0.0, 2.0])
    sigma_last, held = torch.tensor([NAN, 2.03, 0.9, 9.0]), torch.rand(4, 2, 3) < 0.5
    sigmas = (sigma, sigma_next, sigma_last)
    expected = reference.ode_exit_reference(x, denoised, last, *sigmas, held)
    last[0] = NAN  # there was no step before the first
    check(ode_exit(x, denoised, last, *sigmas, held), expected)


def test_ode_exit_ends_on_d_bit_for_bit_and_alone_as_in_a_batch(draw):
    x, denoised, last = draw(2, 4, 4, 3), draw(2, 4, 4, 3), draw(2, 4, 4, 3)
    sigmas = (torch.tensor([0.5, 3.0]), torch.tensor([0.0, 2.0]), torch.tensor([0.9, 4.0]))
    held = torch.zeros(2, 2, 2, dtype=torch.bool)
    together = ode_exit(x, denoised, last, *sigmas, held)
    assert torch.equal(together[0], denoised[0])
    one = slice(1, 2)
    alone = ode_exit(x[one], denoised[one], last[one], *(s[one] for s in sigmas), held[one])
    assert torch.equal(alone, together[one])
