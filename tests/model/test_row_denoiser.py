"""The dense network's answers by rows: at every width, unbounded, over one cache."""

from copy import deepcopy

import pytest
import torch

from nitrogen.kernels.cpu.library import cpu_available
from nitrogen.model import row_denoiser as module
from nitrogen.model.cache import empty_cache
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.regions import Plan, full_plan, region_grid
from nitrogen.model.row_denoiser import RowDenoiser

SIGMA = torch.tensor([20.0, 1.0, 0.05])


@pytest.fixture
def asked():
    x_t = torch.randn(3, 32, 32, 3, generator=torch.Generator().manual_seed(5))
    return x_t, SIGMA, torch.arange(3)


@pytest.fixture(scope="module")
def bounded(denoiser, arch):
    """The same weights, narrower at every noise level."""
    bounds = {"layer_width": ((5.0, (1, 2)), (0.0, (2, 1)))}
    made = Denoiser(type(arch)(**arch.model_dump() | bounds)).requires_grad_(False).eval()
    made.load_state_dict(denoiser.state_dict())
    return made


@pytest.mark.parametrize("quarters", [1, 3, 4])
def test_it_answers_as_the_dense_path_does_whatever_bounds_there_are(
    denoiser, bounded, asked, quarters
):
    expected, _ = denoiser(*asked, quarters=quarters)
    for dense in (denoiser, bounded):
        for cpp_only in (False, True):
            found, _ = RowDenoiser(dense, cpp_only=cpp_only)(*asked, quarters=quarters)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_it_answers_under_the_bounds_where_a_sampler_would_be_bounded(bounded, asked):
    plan, cache = Plan(torch.full((3, 4, 4), 4)), empty_cache(bounded.arch, 3, 32, 32)
    expected, _ = bounded(*asked, plan=plan, cache=cache)
    found, _ = RowDenoiser(bounded, bounded=True)(*asked)
    assert torch.equal(found, expected)
    assert not torch.allclose(found, RowDenoiser(bounded)(*asked)[0], atol=1e-3)


def test_one_cache_serves_every_call_of_a_batch(denoiser, asked, monkeypatch):
    made = []

    def counted(*args, **kwargs):
        made.append(empty_cache(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(module, "empty_cache", counted)
    network, other = RowDenoiser(denoiser), asked[0].flip(1)
    first, _ = network(*asked)
    network(other, *asked[1:])
    assert torch.equal(network(*asked)[0], first)
    assert len(made) == 1
    network(*(one[:2] for one in asked))
    assert len(made) == 2
    RowDenoiser(denoiser, made[0])(*asked)
    assert len(made) == 2


@pytest.mark.skipif(not cpu_available(), reason="no compiler, no AVX2")
def test_under_autocast_the_dense_path_answers_where_rows_would_not_be_cpp(denoiser, asked):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        dense, _ = denoiser(*asked)
        found, _ = RowDenoiser(denoiser, cpp_only=True)(*asked)
        rows, _ = RowDenoiser(denoiser)(*asked)
    assert torch.equal(found, dense)
    assert not torch.equal(rows, dense)


@pytest.mark.parametrize(
    "part", ["unet.head.bias", "unet.up.0.weight", "unet.conditioning.w_sigma"]
)
def test_one_trained_weight_among_frozen_ones_gets_its_gradient(denoiser, part):
    """The layers between the blocks run as one call each only where none of them is trained."""
    network = deepcopy(denoiser)
    x_t, sigma, labels = torch.randn(2, 32, 32, 3), torch.tensor([0.5, 2.0]), torch.tensor([0, 3])
    plan = full_plan(2, region_grid(network.arch, 32, 32), network.arch.num_levels)

    def gradient():
        rows, _ = network(x_t, sigma, labels, plan=plan, cache=empty_cache(network.arch, 2, 32, 32))
        return torch.autograd.grad(rows.square().sum(), network.get_parameter(part))[0]

    network.get_parameter(part).requires_grad_()
    alone = gradient()
    network.requires_grad_(True)
    torch.testing.assert_close(alone, gradient())
    assert alone.abs().max() > 0


def test_one_trained_weight_of_the_predictor_gets_its_gradient(predictor):
    knowing, features = deepcopy(predictor), torch.randn(2, 4, 4, 17)
    knowing.widths.bias.requires_grad_()
    knowing(features, torch.tensor([0, 3])).sum().backward()
    assert knowing.widths.bias.grad.abs().min() > 0
