"""Bounds on what a source may contain, so that a hostile or mistaken one cannot exhaust us."""

from pydantic import BaseModel, ConfigDict, Field


class Limits(BaseModel):
    """A picture over `max_pixels` or `max_file_bytes` counts as broken and is skipped; a source
    over `max_pictures` or `max_classes` is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Pillow itself warns from 89 million pixels on and refuses at twice as many.
    max_pixels: int = Field(64_000_000, ge=1, le=89_000_000)
    max_file_bytes: int = Field(64 * 2**20, ge=1)
    max_pictures: int = Field(10_000_000, ge=1)
    max_classes: int = Field(10_000, ge=1)
