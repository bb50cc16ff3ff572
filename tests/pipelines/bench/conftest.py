"""A teacher, a student and a thin model small enough for unit tests, with random weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from types import ModuleType

import numpy as np
import pytest
import torch

from nitrogen.model.config import ArchConfig
from nitrogen.model.cost import CostModel
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.leg import Leg
from nitrogen.model.pipeline import Pipeline
from nitrogen.model.predictor import Predictor
from nitrogen.model.relay import Relay, RelayTable
from nitrogen.pipelines.bench import contest, kept_figures, kept_tuning, quality
from nitrogen.pipelines.bench.ceilings import Ceiling
from nitrogen.pipelines.bench.methods import runner
from nitrogen.pipelines.bench.models import Models
from nitrogen.pipelines.bench.quality import Extract
from nitrogen.pipelines.bench.settings import relay_method
from nitrogen.pipelines.bench.tuning import Tuning
from nitrogen.pipelines.sampling import Draws

ARCH = ArchConfig(
    image_size=32, patch_size=4, channels=(16, 32), num_blocks=(1, 1), num_attention_blocks=1,
    head_channels=16, cond_channels=16, num_classes=26,
)  # fmt: skip


def shaken(module: torch.nn.Module, seed: int, spread: float = 0.05) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += torch.randn(parameter.shape, generator=generator) * spread
    return module


@pytest.fixture(scope="session")
def models() -> Models:
    torch.manual_seed(0)
    classes = [f"c{i}" for i in range(ARCH.num_classes)]
    teacher = Denoiser(ARCH)
    shaken(teacher, 0)
    student = Denoiser(ARCH)
    student.load_state_dict(teacher.state_dict())
    shaken(student, 1, 0.005)
    # Untrained, it would say the same for every region.
    predictor = shaken(Predictor(ARCH), 2, 0.2)
    thin = Denoiser(ARCH.model_copy(update={"hidden_ratio": 1}))
    shaken(thin, 3)
    return Models(
        Pipeline(teacher, classes), Pipeline(student, classes, predictor),
        {"thin quarter": Pipeline(thin, classes)},
        {"teacher": "0" * 64, "student": "1" * 64, "thin quarter": "2" * 64},
        "bundled:emoji", "emoji64", "d" * 64,
    )  # fmt: skip


@pytest.fixture(scope="session")
def strided(models) -> Models:
    """The same models with a student that answers for whole steps."""
    arch = models.arch.model_copy(update={"strided": True})
    student = Denoiser(arch)
    student.load_state_dict(models.student.denoiser.state_dict(), strict=False)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        stride = student.unet.conditioning.w_stride
        stride += 0.3 * torch.randn(stride.shape, generator=generator)
    pipeline = Pipeline(student, models.student.classes, models.student.predictor)
    return dataclasses.replace(models, student=pipeline)


@pytest.fixture(scope="session")
def relaying(strided):
    """A student whose late steps, from 5 steps on, are the full model's."""
    own = strided.student
    relay = Relay(strided.teacher.denoiser, RelayTable({5: Leg(2, 5.0, 0.2, 3.0)}))
    student = Pipeline(own.denoiser, own.classes, own.predictor, relay=relay)
    return dataclasses.replace(strided, student=student)


@pytest.fixture(scope="session")
def drawn() -> Draws:
    return Draws([0, 3, 7, 25, 9, 3], [100, 101, 102, 103, 104, 105])


@pytest.fixture(scope="session")
def extract() -> Extract:
    """Features of pictures in no time: block means, float32 [n, 48]."""

    def block_means(images: np.ndarray) -> np.ndarray:
        n, side = len(images), images.shape[1] // 4
        blocks = images.reshape(n, 4, side, 4, side, 3).mean(axis=(2, 4))
        return (blocks.reshape(n, -1) / 255).astype(np.float32)

    return block_means


@pytest.fixture
def limit(models):
    """The tier from 2 to 6 units of 1 FLOP."""
    cost = CostModel(models.arch, 32, 32)
    return Ceiling(6.0, cost, cost, 1.0 - cost.full_flops, least=2.0)


@pytest.fixture
def relay_tuning(relaying, extract) -> Tuning:
    """Beside pictures of the relay itself at full width."""
    small = Draws([0, 1, 2], [5, 6, 7])
    target = runner(relay_method([4] * 6), relaying)(small.labels, small.seeds).x_0.numpy()
    return Tuning(relaying, small, target, extract, 0.0, num_steps=(4, 5, 6))


@pytest.fixture(scope="session")
def pictured() -> tuple[ModuleType, ...]:
    """The modules of the benchmark that read pictures."""
    return (contest, kept_figures, kept_tuning, quality)


@pytest.fixture(scope="module")
def made_up_pictures(pictured) -> Iterator[Callable[..., tuple[np.ndarray, np.ndarray]]]:
    """In place of data: decoding the bundled pictures takes longer than all the rest."""

    def made_up(uri: str, split: str, image_size: int) -> tuple[np.ndarray, np.ndarray]:
        generator = np.random.default_rng(["train", "validation", "test"].index(split))
        images = generator.integers(0, 256, (40, image_size, image_size, 3)).astype(np.uint8)
        return images, generator.integers(0, 26, 40)

    with pytest.MonkeyPatch.context() as patch:
        for where in pictured:
            patch.setattr(where, "pictures", made_up)
        yield made_up
