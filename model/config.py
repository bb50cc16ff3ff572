"""Architecture of the row-wise U-Net, and its presets."""

import math
from itertools import pairwise
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from nitrogen.model.errors import ModelError

NUM_WIDTHS = 4  # nested slices of the hidden width: 1/4, 2/4, 3/4, 4/4
MIN_REGION_PX = 8
MAX_STEPS = 1000  # of a sampling run
SIGMA_MAX = 80.0  # where it begins


class ArchConfig(BaseModel):
    """What the weights fit; stored beside them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: int = Field(32, ge=16, le=8192)  # px, of training; the network runs at any size
    image_channels: int = Field(3, ge=1, le=16)
    patch_size: int = Field(2, ge=1, le=16)  # px per row at the finest level
    channels: tuple[int, ...] = (64, 128, 192)  # C of each level, finest first
    num_blocks: tuple[int, ...] = (2, 2, 3)  # per level; each but the last runs down and up
    num_attention_blocks: int = Field(2, ge=0)  # of the coarsest level
    head_channels: int = Field(32, ge=8)
    hidden_ratio: int = Field(4, ge=1)  # E = hidden_ratio * C
    cond_channels: int = Field(128, ge=16)
    num_classes: int = Field(1, ge=1, le=100_000)
    strided: bool = False  # D answers for the whole step to sigma_next; see Denoiser
    # Of a strided one: its levels lie evenly in ln sigma down to here, where it goes to 0; None:
    # EDM's. Every step is then as long a stride (docs/LOG.md, 2026-11-26).
    stride_sigma_min: float | None = Field(None, gt=0, lt=80)
    sigma_data: float = Field(0.5, gt=0)  # EDM (Karras et al. 2022), table 1
    # Widest quarters of each level by noise level: (sigma from which upwards, one a level), largest
    # sigma first, the last at 0. Bounds what a plan computes over rows; empty: no bound.
    layer_width: tuple[tuple[float, tuple[int, ...]], ...] = Field((), max_length=64)

    @model_validator(mode="after")
    def _check(self) -> "ArchConfig":
        if len(self.channels) != len(self.num_blocks) or not self.channels:
            raise ValueError("channels and num_blocks must name the same number of levels")
        if any(c % self.head_channels for c in self.channels[-1:]):
            raise ValueError("the last of channels must be a multiple of head_channels")
        if any((c * self.hidden_ratio) % NUM_WIDTHS for c in self.channels):
            raise ValueError("hidden_ratio * channels must be a multiple of 4")
        self._check_layer_width()
        return self

    def _check_layer_width(self) -> None:
        sigmas = [sigma for sigma, _ in self.layer_width]
        if any(len(caps) != self.num_levels for _, caps in self.layer_width):
            raise ValueError("layer_width must name a width for each of the levels of channels")
        if any(not 1 <= cap <= NUM_WIDTHS for _, caps in self.layer_width for cap in caps):
            raise ValueError("layer_width must be of widths of 1 to 4 quarters")
        falling = all(a > b for a, b in pairwise(sigmas)) and all(map(math.isfinite, sigmas))
        if sigmas and not (falling and sigmas[-1] == 0):
            raise ValueError("layer_width must be by falling sigma, the last one 0")

    @property
    def num_levels(self) -> int:
        return len(self.channels)

    @property
    def coarsest_px(self) -> int:
        """Pixels along a side of a row at the coarsest level; image sides are multiples of it."""
        return self.patch_size * 2 ** (self.num_levels - 1)

    @property
    def region_px(self) -> int:
        """Side of a region: 8 px, or a whole row of the coarsest level where that is larger.

        A region is then a whole number of rows at every level, so that its cost is exact.
        """
        return max(MIN_REGION_PX, self.coarsest_px)

    def hidden(self, level: int, quarters: int = NUM_WIDTHS) -> int:
        """Active hidden units of a block at `level` and a width of `quarters` / 4."""
        return self.channels[level] * self.hidden_ratio * quarters // NUM_WIDTHS

    def blocks(self) -> list[tuple[int, bool]]:
        """(level, has attention) of every block in the order of execution."""
        last = self.num_levels - 1
        down = [(level, False) for level in range(last) for _ in range(self.num_blocks[level])]
        middle = [(last, i < self.num_attention_blocks) for i in range(self.num_blocks[last])]
        return down + middle + list(reversed(down))


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": dict(channels=(32, 64, 128), num_blocks=(2, 1, 2), cond_channels=64),
    "small": dict(channels=(64, 128, 192), num_blocks=(2, 2, 3), cond_channels=96),
    "base": dict(
        channels=(128, 256, 512), num_blocks=(2, 3, 5), cond_channels=256, image_size=64,
        patch_size=4, head_channels=64,
    ),
    "large": dict(
        channels=(192, 384, 768, 1536), num_blocks=(2, 2, 4, 10), cond_channels=512,
        num_attention_blocks=10, image_size=256, patch_size=8, head_channels=64,
        num_classes=1000,
    ),
    "xl": dict(
        channels=(256, 512, 1024, 2048), num_blocks=(2, 2, 4, 26), cond_channels=1024,
        num_attention_blocks=26, image_size=256, patch_size=8, head_channels=128,
        num_classes=1000,
    ),
}  # fmt: skip


def preset(name: str, **overrides: Any) -> ArchConfig:
    """The preset `name` with some fields replaced.

    Raises ModelError for an unknown name.
    """
    if name not in PRESETS:
        raise ModelError(
            f"model.preset must be one of {', '.join(PRESETS)}, got {name!r}. Take one."
        )
    return ArchConfig(**{**PRESETS[name], **overrides})
