"""Whole runs on a GPU: the pictures of a processor, one graph for all plans, bits as promised."""

from copy import deepcopy

import pytest
import torch

from nitrogen.model.cache import empty_cache
from nitrogen.model.policies import Budget, Full, Threshold
from nitrogen.model.regions import Plan
from nitrogen.model.request import Request
from nitrogen.model.sampler import Sampler

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]

REQUESTS = [Request(0, 1, 3), Request(1, 2, 4, 2.0), Request(2, 3, 3, 1.0, 0.9)]
SETTINGS = {
    "full": (Full(), "dpmpp_2m"),
    "budget": (Budget(0.0211, patience=1), "dpmpp_2m"),
    "threshold": (Threshold(0.02), "heun"),
}


@pytest.fixture
def samplers(denoiser, predictor):
    """setting -> (a sampler on the processor, the same on the card)."""
    on_card = [deepcopy(module).cuda() for module in (denoiser, predictor)]

    def made(name):
        policy, solver = SETTINGS[name]
        return [
            Sampler(network, policy, predictor=judge, solver_name=solver)
            for network, judge in ((denoiser, predictor), on_card)
        ]

    return made


@pytest.mark.parametrize("name", SETTINGS)
def test_a_run_on_a_card_is_a_run_on_the_processor(name, samplers):
    here, there = samplers(name)
    for mine, theirs in zip(there.run(REQUESTS), here.run(REQUESTS), strict=True):
        assert torch.equal(mine.widths, theirs.widths)
        torch.testing.assert_close(mine.x_0, theirs.x_0, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_picture_has_the_same_bits_in_any_batch(name, samplers):
    _, there = samplers(name)
    together = there.run(REQUESTS)
    for request, among in zip(REQUESTS, together, strict=True):
        (alone,) = there.run([request])
        assert torch.equal(alone.widths, among.widths)
        assert torch.equal(alone.x_0, among.x_0)


@torch.no_grad()
def test_one_captured_graph_serves_every_plan(denoiser):
    """No launch depends on the plan, and nothing waits for the processor: that would end a
    capture."""
    network = deepcopy(denoiser).cuda()
    size, grid = (2, 32, 32, 3), (2, 4, 4)
    x, sigma = torch.randn(size, device="cuda"), torch.tensor([0.5, 2.0], device="cuda")
    labels = torch.tensor([0, 3], device="cuda")
    plans = [torch.randint(0, 5, grid, device="cuda") for _ in range(3)]
    plans += [torch.full(grid, quarters, device="cuda") for quarters in (0, 4)]
    widths, cache = plans[0].clone(), empty_cache(network.arch, 2, 32, 32, "cuda")

    def run(widths, cache):
        return network(x, sigma, labels, plan=Plan(widths), cache=cache)[0]

    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        run(widths, cache)  # what is compiled or kept at a first call
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = run(widths, cache)
    for plan in plans:
        widths.copy_(plan)
        for one in cache.maps():
            one.zero_()
        graph.replay()
        fresh = empty_cache(network.arch, 2, 32, 32, "cuda")
        assert torch.equal(out, run(plan, fresh))
        assert all(map(torch.equal, cache.maps(), fresh.maps()))
