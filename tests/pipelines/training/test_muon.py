"""Muon: equal to torch's own where that is exact, orthogonal updates, one product a shape."""

import pytest
import torch
from torch import nn

from nitrogen.pipelines.training.muon import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(3, 5, 12), (2, 12, 5), (1, 7, 7)])
def test_singular_values_come_near_one(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrices))
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_equals_torch_up_to_the_precision_of_bf16():
    generator = torch.Generator().manual_seed(1)
    start = [torch.randn(shape, generator=generator) for shape in ((8, 16), (16, 8), (8, 16))]
    ours = [nn.Parameter(w.clone()) for w in start]
    theirs = [nn.Parameter(w.clone()) for w in start]
    optimizers = [
        Muon(ours, lr=0.01, weight_decay=0.1),
        torch.optim.Muon(theirs, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    ]
    for _ in range(3):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            other.grad = mine.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for mine, other, before in zip(ours, theirs, start, strict=True):
        moved = (other - before).norm()
        assert (mine - other).norm() < 0.03 * moved  # bf16 keeps 8 bits


def test_a_parameter_without_a_gradient_stays():
    parameter = nn.Parameter(torch.ones(4, 4))
    Muon([parameter], weight_decay=0.5).step()
    assert torch.equal(parameter.detach(), torch.ones(4, 4))
