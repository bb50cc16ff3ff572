"""What a whole sampling step costs over the plain dense network, planning and predictor included.

The dense network is the path of training: plain layers at full width. The index path runs the same
network over row sets with everything that a step needs around it: features, predictor, plan,
gathers, caches, solver. `step half` computes exactly half of the regions, by a policy that is
planned in parts; `step budget 0.5` is what a user's request gets, planned in one call, and the
shares that it really computed stand beside its time. Random weights by default: time depends on
them by the plan alone. On request the dense network as torch.compile has it, and the network in
fewer bits, stand beside them in the same rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from nitrogen.model.cache import empty_cache
from nitrogen.model.denoiser import Denoiser, preconditioning
from nitrogen.model.regions import Plan, full_plan
from nitrogen.model.solvers import dpmpp_2m, new_history
from nitrogen.pipelines.bench.fewer_bits import fewer_bits
from nitrogen.pipelines.bench.records import failed, provenance, ratios, record, waiter
from nitrogen.pipelines.bench.step_networks import (
    BUDGET,
    Networks,
    Stepper,
    half_plan,
    steppers,
)
from nitrogen.pipelines.metrics.timing import Timing, time_callables
from nitrogen.platform.errors import ConfigError

COMPILED, TOLERANCE = "compiled network", 1e-4  # relative error of D
# What the network alone takes over the same rows: the rest of a step is planning and closing it.
ALONE = {"step full": "rows full", "step half": "rows half"}
MOST = {"step full": 1.08, "step half": 0.58, f"step budget {BUDGET:g}": 0.58}  # of the dense one
Call = Callable[[], Any]


def run(
    networks: Networks,
    size: int,
    batches: tuple[int, ...],
    device: str,
    repeats: int,
    backend: str | None = None,  # of torch.compile, for the compiled rows; none without it
    lower: bool = False,  # the network in bf16 and in int8 too
) -> Iterator[dict[str, Any]]:
    """One record a (batch, way); those with a target say whether they are within it. A compiled
    network that is wrong has no times. Raises ConfigError where nothing can be compiled."""
    about = provenance()
    with torch.no_grad():
        for batch in batches:
            steps = steppers(networks, batch, size)
            calls = ways(networks.denoiser, steps, batch, size)
            facts: dict[str, dict[str, Any]] = {
                way: stepper.shares() | {"planned": stepper.planned()}
                for way, stepper in steps.items()
            }
            if backend is not None:
                compiled, error = compiled_ways(networks.denoiser, batch, size, backend)
                if error > TOLERANCE:
                    yield failed("step", COMPILED, [batch, size, size], error) | about
                else:
                    calls |= compiled
            if lower:
                for way, (call, error) in fewer_bits(networks.denoiser, batch, size).items():
                    calls[way], facts[way] = call, {"relative_rms": error}
            timings = time_callables(calls, repeats=repeats, synchronize=waiter(device))
            for way, timing in timings.items():
                line = figures(way, timing, timings, [batch, size, size])
                yield line | facts.get(way, {}) | about


def ways(denoiser: Denoiser, steps: dict[str, Stepper], batch: int, size: int) -> dict[str, Call]:
    """The network alone (dense, over all rows, over half of them), and whole steps."""
    whole = steps["step full"]
    live = whole.state.live
    x, (sigma, sigma_next), labels = live.x, live.sigma_pair(), live.labels
    cache = empty_cache(denoiser.arch, batch, size, size, x.device)
    plan = full_plan(batch, whole.sampler.grid, denoiser.arch.num_levels, device=x.device)
    history = new_history(x)

    def dense() -> Tensor:
        return denoiser(x, sigma, labels, sigma_next=sigma_next)[0]

    def rows(widths: Tensor) -> Call:
        return lambda: denoiser(
            x, sigma, labels, sigma_next=sigma_next, plan=Plan(widths), cache=cache
        )

    return {
        "dense network": dense,
        "dense step": lambda: dpmpp_2m(x, dense(), sigma, sigma_next, history)[0],
        "rows full": rows(plan.widths),
        "rows half": rows(half_plan(plan.widths)),
        **steps,
    }


def compiled_ways(
    denoiser: Denoiser, batch: int, size: int, backend: str
) -> tuple[dict[str, Call], float]:
    """The dense network through torch.compile, compiled for this shape, alone and with the
    solver's step; and its relative error to the plain one."""
    network = compiled_network(denoiser, backend)
    device, channels = next(denoiser.parameters()).device, denoiser.arch.image_channels
    x = torch.randn(batch, size, size, channels, device=device)
    sigma, labels = torch.ones(batch, device=device), torch.zeros(batch, device=device).long()
    history = new_history(x)
    plain = denoiser(x, sigma, labels, sigma_next=sigma / 2)[0]
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
    """D by the dense path, compiled but for the preconditioning, which is a call of C++ here. A
    strided network goes to half of sigma."""
    unet = torch.compile(denoiser.unet, backend=backend, dynamic=False)

    def network(x: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
        c_skip, c_out, c_in, c_noise = preconditioning(sigma, denoiser.arch.sigma_data)
        stride = torch.full_like(sigma, 0.5)
        return c_skip * x + c_out * unet(c_in * x, c_noise, labels, stride=stride)[0]

    return network


def figures(
    way: str, timing: Timing, timings: dict[str, Timing], shape: list[int]
) -> dict[str, Any]:
    line = record("step", way, shape, timing)
    line |= ratios("of_dense", timing, timings["dense network"])
    if way in ALONE:
        line |= ratios("of_network", timing, timings[ALONE[way]])
    if way in MOST:
        line |= {"bound": MOST[way], "within": line["of_dense"] <= MOST[way]}
    return line
