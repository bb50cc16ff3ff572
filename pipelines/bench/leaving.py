"""What it saves that pictures whose regions have all exited leave the batch.

A batch of pictures of several classes, which settle at different steps, under policy `budget` with
exits. Both ways give the same pictures, bit for bit; only who is stepped differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from nitrogen.model.policies import Budget
from nitrogen.model.request import Request, SamplerState
from nitrogen.model.sampler import Sampler
from nitrogen.pipelines.bench.records import provenance, ratios, record
from nitrogen.pipelines.bench.step_networks import Networks
from nitrogen.pipelines.metrics.timing import time_callables

# At these pictures of the shipped student settle at steps 4 to 10 (batch 8).
BUDGET, NUM_STEPS, THRESHOLD = 0.8, 12, 0.01
LEAVING, STAYING = "pictures leaving", "pictures staying"


class Staying(Sampler):
    """Steps every picture to its last noise level, whatever has exited."""

    def _retire(self, state: SamplerState, someone_exited: bool | None) -> SamplerState:
        return super()._retire(state, False)


def run(
    networks: Networks, batch: int, repeats: int, threshold: float = THRESHOLD
) -> Iterator[dict[str, Any]]:
    """A record a way: ms of a whole batch, steps of each picture, and the paired ratio."""
    about, requests = provenance(), mixed(networks, batch)
    size = networks.denoiser.arch.image_size
    samplers = {
        name: kind(networks.denoiser, Budget(threshold), predictor=networks.predictor)
        for name, kind in ((LEAVING, Sampler), (STAYING, Staying))
    }
    calls = {name: partial(sampler.run, requests) for name, sampler in samplers.items()}
    steps = {name: [one.num_steps for one in call()] for name, call in calls.items()}
    timings = time_callables(calls, repeats=repeats)
    for name, timing in timings.items():
        line = record("batch", name, [batch, size, size], timing)
        line |= ratios("of_staying", timing, timings[STAYING])
        yield line | {"num_steps": steps[name], "threshold": threshold, "budget": BUDGET} | about


def mixed(networks: Networks, batch: int) -> list[Request]:
    """Pictures of classes that are spread over all."""
    classes = networks.denoiser.arch.num_classes
    return [Request(3 * i % classes, i, NUM_STEPS, budget=BUDGET) for i in range(batch)]
