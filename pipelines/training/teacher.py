"""Stage 1: the full-width teacher, denoising score matching (EDM, eq. 2)."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nitrogen.model.config import ArchConfig
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.losses import edm_weight, sample_sigma, weighted_error
from nitrogen.model.weights import load_into, load_tensors
from nitrogen.pipelines.training.config import NoiseConfig, OptimConfig
from nitrogen.pipelines.training.loop import Task, train
from nitrogen.pipelines.training.preview import save_preview
from nitrogen.platform.storage_copies import local_copy
from nitrogen.platform.training import TrainSession


class TeacherTask(Task):
    """The weighted denoising error of one batch."""

    def __init__(self, arch: ArchConfig, noise: NoiseConfig):
        super().__init__()
        self.trained: Denoiser = Denoiser(arch)
        self.arch, self.noise = arch, noise

    def forward(
        self, x_0: Tensor, labels: Tensor, generator: torch.Generator, progress: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """x_0: [b, h, w, c] in [-1, 1], labels: [b]. Returns the loss and nothing else to log."""
        x_t, sigma, labels = noised(x_0, labels, self.noise, self.arch, generator)
        denoised, _ = self.trained(x_t, sigma, labels)
        return weighted_error(denoised, x_0, edm_weight(sigma, self.arch.sigma_data)), {}

    def preview(self, average: dict[str, Tensor], path: Path) -> None:
        """Draws samples of the averaged weights into a PNG."""
        net = Denoiser(self.arch)
        net.load_state_dict(average)
        save_preview(net, path)


def noised(
    x_0: Tensor,
    labels: Tensor,
    noise: NoiseConfig,
    arch: ArchConfig,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """x_t, sigma [b] and labels [b], some of them dropped. Drawn on the CPU, on every device."""
    num = x_0.shape[0]
    sigma = sample_sigma(num, noise.p_mean, noise.p_std, generator).to(x_0.device)
    eps = torch.randn(x_0.shape, generator=generator).to(x_0.device)
    dropped = (torch.rand(num, generator=generator) < noise.label_dropout).to(x_0.device)
    labels = torch.where(dropped, arch.num_classes, labels)
    return x_0 + sigma[:, None, None, None] * eps, sigma, labels


def train_teacher(config: dict[str, Any], session: TrainSession) -> None:
    """TrainFn. config: arch, noise, optim (dicts of their configs), data_uri, seed, precision,
    start (weights file of a teacher to go on from; fresh weights without it)."""
    torch.manual_seed(config["seed"])  # same initial weights on every rank
    task = TeacherTask(ArchConfig(**config["arch"]), NoiseConfig(**config["noise"]))
    if config.get("start"):
        with torch.no_grad():
            load_into(task.trained, load_tensors(local_copy(config["start"])), "denoiser.")
    optim = OptimConfig(**config["optim"])
    train(task, optim, config["data_uri"], config["seed"], config["precision"], session)
