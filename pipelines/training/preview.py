"""A small grid of samples, drawn while a training runs."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from nitrogen.model.denoiser import Denoiser
from nitrogen.model.schedules import sampling_sigmas

COLUMNS, ROWS, SCALE, NUM_STEPS = 9, 3, 3, 12


@torch.no_grad()
def save_preview(net: Denoiser, path: Path) -> None:
    """Writes a 9 x 3 grid, one class after the other, fixed seeds, DPM-Solver++(2M) 12 steps."""
    from nitrogen.model.solvers import sample_dense

    arch, num = net.arch, COLUMNS * ROWS
    generator = torch.Generator().manual_seed(0)
    side = arch.image_size
    eps = torch.randn(num, side, side, arch.image_channels, generator=generator)
    labels = torch.arange(num) % arch.num_classes
    device = next(net.parameters()).device
    sigmas = sampling_sigmas(NUM_STEPS, arch)
    x_0 = sample_dense(net, eps.to(device), labels.to(device), sigmas, "dpmpp_2m")
    tile_grid(x_0.cpu(), COLUMNS, SCALE).save(path)


def tile_grid(x_0: Tensor, columns: int, scale: int = 1) -> Image.Image:
    """x_0: [n, h, w, 3] in [-1, 1] -> a picture of them side by side, 2 px apart, enlarged."""
    pixels = ((x_0.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    pixels = torch.nn.functional.pad(pixels, (0, 0, 1, 1, 1, 1), value=255)
    rows = [torch.cat(list(r), dim=1) for r in pixels.split(columns) if len(r) == columns]
    picture = Image.fromarray(torch.cat(rows).numpy())
    size = (picture.width * scale, picture.height * scale)
    return picture.resize(size, Image.Resampling.NEAREST)
