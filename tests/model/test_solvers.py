"""Solvers against the exact solution for Gaussian data, and the closed form of exit."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from nitrogen.model.errors import ModelError
from nitrogen.model.schedules import Spacing, karras_sigmas
from nitrogen.model.solvers import (
    SOLVERS,
    new_history,
    sample_dense,
    settle,
    slide,
    solver,
    solver_for,
)

MEAN, VARIANCE = 0.3, 0.25


class GaussianDenoiser:
    """The ideal denoiser of data ~ N(MEAN, VARIANCE)."""

    arch = SimpleNamespace(strided=False)

    def __call__(self, x, sigma, labels, sigma_next=None):
        noise = sigma[:, None, None, None] ** 2
        return (VARIANCE * x + noise * MEAN) / (VARIANCE + noise), None


def exact(eps, sigma):
    return MEAN + (eps * sigma - MEAN) * (VARIANCE / (VARIANCE + sigma**2)) ** 0.5


def errors(name, steps):
    eps = torch.randn(2, 4, 4, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = []
    for num_steps in steps:
        sigmas = karras_sigmas(num_steps, Spacing(0.005, sigma_max=10.0))
        got = sample_dense(GaussianDenoiser(), eps, torch.zeros(2), sigmas, name)
        found.append((got - exact(eps, sigmas[0])).abs().max().item())
    return found


@pytest.mark.parametrize(
    ("name", "least_order"), [("euler", 0.9), ("heun", 1.7), ("dpmpp_2m", 1.7), ("unipc", 1.7)]
)
def test_order_of_convergence(name, least_order):
    coarse, fine = errors(name, (10, 20))
    assert torch.log2(torch.tensor(coarse / fine)) > least_order


def test_better_solvers_are_better():
    euler, dpm, unipc = (errors(name, (20,))[0] for name in ("euler", "dpmpp_2m", "unipc"))
    assert unipc < dpm < euler


@pytest.mark.parametrize("name", ["euler", "dpmpp_2m", "unipc"])
def test_exit_in_closed_form_equals_a_fine_solver(name):
    """Once D is frozen, any number of steps of any solver lands where one slide lands."""
    eps = torch.randn(1, 8, 8, 3, dtype=torch.float64)
    sigmas = karras_sigmas(200, Spacing(0.01, sigma_max=5.0))[:-1]
    x, labels, everywhere = eps * sigmas[0], torch.zeros(1), torch.ones(1, 8, 8, 1).bool()
    history, start, at_exit = new_history(x), 3, x
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        here, there = sigma[None], sigma_next[None]
        if step < start:  # a past that a solver might still extrapolate from
            denoised, _ = GaussianDenoiser()(x, here, labels)
        else:
            at_exit = x if step == start else at_exit
            history = settle(history, x, denoised, here, everywhere)
        x, history = solver(name)(x, denoised, here, there, history)
    torch.testing.assert_close(x, slide(at_exit, denoised, sigmas[start : start + 1], there))


@pytest.mark.parametrize("name", list(SOLVERS))
def test_last_step_returns_denoised(name):
    x, denoised = torch.randn(1, 4, 4, 1), torch.randn(1, 4, 4, 1)
    out, _ = solver(name)(x, denoised, torch.ones(1), torch.zeros(1), new_history(x))
    torch.testing.assert_close(out, denoised)


def test_schedule_follows_the_paper():
    sigmas = karras_sigmas(18)
    assert sigmas[0] == pytest.approx(80) and sigmas[17] == pytest.approx(0.002)  # noqa: PT018
    assert sigmas[18] == 0
    assert bool((sigmas.diff() < 0).all())
    with pytest.raises(ModelError, match="num_inference_steps"):
        karras_sigmas(0)


def test_unknown_solver_is_named():
    for ask in (solver, lambda name: solver_for(True, name), lambda name: solver_for(False, name)):
        with pytest.raises(ModelError, match="ddpm"):
            ask("ddpm")
