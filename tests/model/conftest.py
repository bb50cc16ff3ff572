"""A small network with random weights: zero-initialised gates would make every test trivial."""

import pytest
import torch

from nitrogen.model.config import ArchConfig
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.predictor import Predictor

ARCH = ArchConfig(
    image_size=32, patch_size=2, channels=(16, 32), num_blocks=(1, 2), num_attention_blocks=1,
    head_channels=16, cond_channels=16, num_classes=3,
)  # fmt: skip


def shaken(module, spread=0.05):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += torch.randn(parameter.shape, generator=generator) * spread
    return module.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def arch():
    return ARCH


@pytest.fixture(scope="session")
def denoiser():
    torch.manual_seed(0)
    return shaken(Denoiser(ARCH))


@pytest.fixture(scope="session")
def strided():
    torch.manual_seed(0)
    return shaken(Denoiser(ARCH.model_copy(update={"strided": True})))


@pytest.fixture(scope="session")
def bounded():
    """A denoiser whose levels have widths that they may not pass, by noise level."""
    torch.manual_seed(0)
    bounds = ((2.0, (4, 4)), (0.2, (2, 4)), (0.0, (1, 3)))
    return shaken(Denoiser(ARCH.model_copy(update={"layer_width": bounds})))


@pytest.fixture(scope="session")
def predictor():
    torch.manual_seed(1)
    return shaken(Predictor(ARCH))
