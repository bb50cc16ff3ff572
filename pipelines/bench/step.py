"""What a whole sampling step costs over the plain dense network, planning and predictor included.

The dense network is the path of training: plain layers at full width. The index path runs the same
network over row sets with everything that a step needs around it: features, predictor, plan,
gathers, caches, solver. Random weights: time does not depend on them. On request the dense network
as torch.compile has it stands beside them, in the same rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from nitrogen.model.cache import empty_cache
from nitrogen.model.config import NUM_WIDTHS, preset
from nitrogen.model.denoiser import Denoiser, preconditioning
from nitrogen.model.observation import Observation
from nitrogen.model.policies import Decision, Full, no_exit
from nitrogen.model.predictor import Predictor
from nitrogen.model.regions import HELD, Plan, full_plan
from nitrogen.model.request import Request, SamplerState
from nitrogen.model.sampler import Sampler
from nitrogen.model.solvers import dpmpp_2m, new_history
from nitrogen.pipelines.bench.records import failed, provenance, ratios, record, waiter
from nitrogen.pipelines.metrics.timing import Timing, time_callables
from nitrogen.platform.errors import ConfigError

COMPILED, TOLERANCE = "compiled network", 1e-4  # relative error of D
MOST = {"step full": 1.08, "step half": 0.58}  # of the dense network's time


class Checkerboard:
    """Half of the regions, whatever the predictor says; it is paid for."""

    needs_predictor = True

    def decide(self, observation: Observation) -> Decision:
        _, rh, rw = observation.exited.shape
        odd = (torch.arange(rh)[:, None] + torch.arange(rw)) % 2 == 1
        known = (observation.past.quarters > HELD) & odd.to(observation.exited.device)
        widths = torch.full_like(observation.past.quarters, NUM_WIDTHS)
        return no_exit(torch.where(known, HELD, widths))


def run(
    name: str,
    size: int,
    batches: tuple[int, ...],
    device: str,
    repeats: int,
    backend: str | None = None,  # of torch.compile, for the compiled rows; none without it
) -> Iterator[dict[str, Any]]:
    """One record a (batch, way); those with a target say whether it is kept. A compiled network
    that is wrong has no times. Raises ConfigError where nothing can be compiled."""
    arch = preset(name)
    torch.manual_seed(0)
    denoiser = Denoiser(arch).to(device).eval().requires_grad_(False)
    predictor = Predictor(arch).to(device).eval().requires_grad_(False)
    about = provenance()
    with torch.no_grad():
        for parameter in denoiser.parameters():  # gates start at zero: any network would be right
            parameter.add_(torch.randn_like(parameter) * 0.02)
        for batch in batches:
            calls = ways(denoiser, predictor, batch, size)
            if backend is not None:
                compiled, error = compiled_ways(denoiser, batch, size, backend)
                if error > TOLERANCE:
                    yield failed("step", COMPILED, [batch, size, size], error) | about
                else:
                    calls |= compiled
            timings = time_callables(calls, repeats=repeats, synchronize=waiter(device))
            for way, timing in timings.items():
                yield figures(way, timing, timings, [batch, size, size]) | about


def ways(
    denoiser: Denoiser, predictor: Predictor, batch: int, size: int
) -> dict[str, Callable[[], Any]]:
    """The network alone (dense, over all rows, over half of them), and whole steps."""
    device = next(denoiser.parameters()).device
    samplers = [
        Sampler(denoiser, policy, predictor=predictor, image_size=(size, size))
        for policy in (Full(needs_predictor=True), Checkerboard())
    ]
    requests = [Request(0, seed, num_inference_steps=100) for seed in range(batch)]
    states = [second_step(sampler, requests) for sampler in samplers]
    live = states[0].live
    x, sigma, sigma_next, labels = live.x, live.sigma_at(0), live.sigma_at(1), live.labels
    cache = empty_cache(denoiser.arch, batch, size, size, device)
    levels = denoiser.arch.num_levels
    widths = full_plan(batch, samplers[0].grid, levels, device=device).widths
    half = widths.clone()
    half[:, ::2, 1::2] = half[:, 1::2, ::2] = HELD
    history = new_history(x)

    def dense_step() -> Tensor:
        return dpmpp_2m(x, denoiser(x, sigma, labels)[0], sigma, sigma_next, history)[0]

    def rows(plan: Tensor) -> Callable[[], Any]:
        return lambda: denoiser(x, sigma, labels, plan=Plan(plan), cache=cache)

    return {
        "dense network": lambda: denoiser(x, sigma, labels),
        "dense step": dense_step,
        "rows full": rows(widths),
        "rows half": rows(half),
        "step full": lambda: samplers[0].step(states[0]),
        "step half": lambda: samplers[1].step(states[1]),
    }


def compiled_ways(
    denoiser: Denoiser, batch: int, size: int, backend: str
) -> tuple[dict[str, Callable[[], Any]], float]:
    """The dense network through torch.compile, compiled for this shape, alone and with the
    solver's step; and its relative error to the plain one."""
    network = compiled_network(denoiser, backend)
    device, channels = next(denoiser.parameters()).device, denoiser.arch.image_channels
    x = torch.randn(batch, size, size, channels, device=device)
    sigma, labels = torch.ones(batch, device=device), torch.zeros(batch, device=device).long()
    history = new_history(x)
    plain = denoiser(x, sigma, labels)[0]
    try:
        difference = network(x, sigma, labels) - plain
    except RuntimeError as error:  # torch's compilers have many of their own, all of this kind
        raise ConfigError(
            "--compile must be given where torch.compile works, got "
            f"{type(error).__name__}: {str(error).splitlines()[0]}. Install g++, or leave it out."
        ) from None
    ways = {
        COMPILED: lambda: network(x, sigma, labels),
        "compiled step": lambda: dpmpp_2m(
            x, network(x, sigma, labels), sigma, sigma / 2, history
        )[0],
    }  # fmt: skip
    return ways, float(difference.norm() / plain.norm())


def compiled_network(
    denoiser: Denoiser, backend: str
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """D by the dense path, compiled but for the preconditioning, which is a call of C++ here."""
    unet = torch.compile(denoiser.unet, backend=backend, dynamic=False)

    def network(x: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
        c_skip, c_out, c_in, c_noise = preconditioning(sigma, denoiser.arch.sigma_data)
        return c_skip * x + c_out * unet(c_in * x, c_noise, labels)[0]

    return network


def second_step(sampler: Sampler, requests: list[Request]) -> SamplerState:
    """After the first two steps, when a region may be held and the solver is of second order."""
    return sampler.step(sampler.step(sampler.start(requests)))


def figures(
    way: str, timing: Timing, timings: dict[str, Timing], shape: list[int]
) -> dict[str, Any]:
    provider, _, case = way.partition(" ")
    line = record("step", f"{provider} {case}", shape, timing)
    line |= ratios("of_dense", timing, timings["dense network"])
    if way in MOST:
        line |= {"bound": MOST[way], "kept": line["of_dense"] <= MOST[way]}
    return line
