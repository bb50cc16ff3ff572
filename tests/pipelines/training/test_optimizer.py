"""Optimisers: what the kernels keep of the weights follows every step."""

import pytest
import torch

from nitrogen.model.cache import empty_cache
from nitrogen.model.cost import CostModel
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.regions import full_plan
from nitrogen.pipelines.training.config import OptimConfig
from nitrogen.pipelines.training.optimizer import build_optimizers, set_learning_rate
from nitrogen.pipelines.training.student import Student


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_path_over_rows_sees_new_weights_after_a_step(arch, optimizer):
    torch.manual_seed(0)
    net, cost = Denoiser(arch), CostModel(arch, arch.image_size, arch.image_size)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += torch.randn_like(parameter) * 0.1
    x, sigma = torch.randn(2, arch.image_size, arch.image_size, 3), torch.ones(2)
    labels = torch.zeros(2, dtype=torch.int64)

    @torch.no_grad()
    def by_rows():
        cache = empty_cache(arch, 2, cost.height, cost.width, x.device)
        return net(x, sigma, labels, plan=full_plan(2, cost.grid, arch.num_levels), cache=cache)[0]

    before = by_rows()
    net(x, sigma, labels)[0].square().mean().backward()
    for one in build_optimizers(net, OptimConfig(optimizer=optimizer, learning_rate=0.1)):
        one.step()
    dense = net(x, sigma, labels)[0].detach()
    assert (before - dense).abs().max() > 0.1, "the step has changed the answer"
    assert torch.allclose(by_rows(), dense, atol=1e-4)


def test_the_predictor_follows_a_rate_of_its_own(arch):
    student = Student(arch)
    config = OptimConfig(
        num_images=1000, batch_size=10, learning_rate=1e-4, predictor_learning_rate=1e-2,
        warmup_images=20, decay_share=0.5,
    )  # fmt: skip
    optimizers = build_optimizers(student, config)
    rates = {}
    for step in (0, 10, 99):
        set_learning_rate(optimizers, config, step)
        of = {id(p): g["lr"] for o in optimizers for g in o.param_groups for p in g["params"]}
        rates[step] = (
            {of[id(p)] for p in student.denoiser.parameters()},
            {of[id(p)] for p in student.predictor.parameters()},
        )
    assert rates[0] == ({0.5e-4}, {0.5e-2}), "half way through the warm-up"
    assert rates[10] == ({1e-4}, {1e-2})
    assert max(rates[99][1]) == pytest.approx(2e-4)
