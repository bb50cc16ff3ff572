"""The shell: equal to the whole network over its own deep feature, and cheaper without it."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nitrogen.model.config import ArchConfig
from nitrogen.model.cost import CostModel
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.errors import ModelError
from nitrogen.model.shell import Shell, shell_flops


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 32, 32, 3, generator=generator)
    return x, torch.tensor([0.3, 2.0]), torch.tensor([0, 2])


def test_it_is_the_network_when_everything_is_computed(denoiser, inputs):
    with torch.no_grad():
        expected, _ = denoiser(*inputs)
    denoised, deep = Shell(denoiser)(*inputs)
    torch.testing.assert_close(denoised, expected, rtol=1e-5, atol=1e-6)
    again, same = Shell(denoiser)(*inputs, deep)
    assert same is deep
    torch.testing.assert_close(again, denoised)


def test_three_levels_too(inputs):
    arch = ArchConfig(channels=(16, 32, 32), num_blocks=(1, 2, 2), head_channels=16, num_classes=3)
    torch.manual_seed(0)
    net = Denoiser(arch)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.05 * torch.randn(parameter.shape)
        expected, _ = net(*inputs)
    torch.testing.assert_close(Shell(net)(*inputs)[0], expected, rtol=1e-5, atol=1e-6)


def test_an_old_deep_feature_is_read(denoiser, inputs):
    x, sigma, labels = inputs
    _, deep = Shell(denoiser)(x, sigma, labels)
    stale, _ = Shell(denoiser)(x.flip(1), sigma, labels, deep)
    fresh, _ = Shell(denoiser)(x.flip(1), sigma, labels)
    assert (stale - fresh).abs().max() > 1e-4


def test_its_flops_are_those_that_torch_counts(denoiser, inputs):
    shell = Shell(denoiser)
    _, deep = shell(*inputs)
    with FlopCounterMode(display=False) as counter:
        shell(*inputs, deep)
    assert counter.get_total_flops() == 2 * shell_flops(CostModel(denoiser.arch, 32, 32))


def test_one_level_has_no_shell():
    arch = ArchConfig(channels=(32,), num_blocks=(1,), num_attention_blocks=0)
    with pytest.raises(ModelError, match="at least 2 levels"):
        Shell(Denoiser(arch))


def test_a_strided_denoiser_is_refused_with_a_sentence(strided, inputs):
    with pytest.raises(
        ModelError, match=r"must not be strided for a shell, got strided: true\. Take"
    ):
        Shell(strided)
    with pytest.raises(ModelError, match=r"sigma_next must be given to a strided denoiser"):
        strided(*inputs)
