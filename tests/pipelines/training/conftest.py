"""A data set of a few pictures, and the smallest network that has every part."""

import numpy as np
import pytest
from PIL import Image

from nitrogen.model.config import ArchConfig
from nitrogen.pipelines.data.prepare import prepare

ARCH = ArchConfig(
    image_size=16, patch_size=2, channels=(8, 16), num_blocks=(1, 1), num_attention_blocks=1,
    head_channels=8, cond_channels=16, num_classes=3,
)  # fmt: skip


@pytest.fixture(scope="session")
def data_uri(tmp_path_factory):
    """36 pictures of 3 classes, 16 px: discs, squares and stripes."""
    root = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16]
    for name in ("disc", "square", "stripes"):
        (root / "source" / name).mkdir(parents=True)
        for index in range(12):
            cy, cx, r = generator.integers(4, 12), generator.integers(4, 12), 3 + index % 4
            shape = {
                "disc": (y - cy) ** 2 + (x - cx) ** 2 < r**2,
                "square": (abs(y - cy) < r) & (abs(x - cx) < r),
                "stripes": (x + index) % r < 2,
            }[name]
            pixels = np.where(shape[..., None], generator.integers(0, 256, 3), 255)
            Image.fromarray(pixels.astype(np.uint8)).save(
                root / "source" / name / f"{index:02d}.png"
            )
    prepare(str(root / "source"), str(root / "data"))
    return str(root / "data")


@pytest.fixture(scope="session")
def arch():
    return ARCH
