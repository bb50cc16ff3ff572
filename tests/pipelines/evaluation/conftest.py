"""A pipeline of a small network whose every part has an effect."""

import pytest
import torch

from nitrogen.model.config import ArchConfig
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.pipeline import Pipeline
from nitrogen.model.predictor import Predictor


@pytest.fixture(scope="module")
def pipeline():
    torch.manual_seed(0)
    arch = ArchConfig(
        image_size=32, patch_size=2, channels=(16, 32), num_blocks=(1, 1), num_attention_blocks=1,
        head_channels=16, cond_channels=16, num_classes=3,
    )  # fmt: skip
    denoiser, predictor = Denoiser(arch), Predictor(arch)
    with torch.no_grad():
        for parameter in (*denoiser.parameters(), *predictor.parameters()):
            parameter += torch.randn_like(parameter) * 0.05  # gates start at zero
    return Pipeline(denoiser, ["a", "b", "c"], predictor)
