"""One picture of a source: read, decoded, fitted to size and encoded, or broken, and why."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from nitrogen.pipelines.data.images import (
    BrokenPictureError,
    Decoded,
    decode_array,
    decode_picture,
    encode_png,
    fit_square,
)
from nitrogen.pipelines.data.limits import Limits
from nitrogen.pipelines.data.moments import NO_PIXELS, Moments
from nitrogen.pipelines.data.source import Picture


@dataclass(frozen=True)
class Content:
    """What a source holds of one picture.

    loaded: its file's bytes or its pixels, None if it cannot be read; reason: why not, else None;
    digest: tells this content from any other, that it cannot be read included.
    """

    loaded: bytes | np.ndarray | None
    reason: str | None
    digest: str


@dataclass(frozen=True)
class Outcome:
    """What became of one picture.

    label, split: the source's own; content: digest of what was read; reason: why it cannot be used,
    None if it can. For those that can: traits, keys of `images.NOTES`; encoded, a PNG; size, height
    and width in px; moments of its pixels.
    """

    key: str
    label: int | None
    split: str | None
    content: str
    reason: str | None = None
    traits: frozenset[str] = frozenset()
    encoded: bytes = b""
    size: tuple[int, int] = (0, 0)
    moments: Moments = NO_PIXELS


def read_content(picture: Picture) -> Content:
    """Reads the picture, decodes nothing. A picture without a class is not read."""
    if picture.label is None:
        return Content(None, "has no class", "")
    try:
        loaded = picture.load()
    except BrokenPictureError as error:
        return Content(None, str(error), f"broken: {error}")
    if isinstance(loaded, bytes):
        return Content(loaded, None, hashlib.sha256(loaded).hexdigest())
    pixels = hashlib.sha256(loaded.tobytes()).hexdigest()
    return Content(loaded, None, f"{loaded.shape} {pixels}")


def convert(picture: Picture, image_size: int | None, limits: Limits) -> Outcome:
    """image_size: the side in px that it is fitted to (see `fit_square`); None keeps its size."""
    content = read_content(picture)
    about = (picture.key, picture.label, picture.split, content.digest)
    if content.loaded is None:
        return Outcome(*about, reason=content.reason)
    try:
        decoded = _decode(content.loaded, limits)
    except BrokenPictureError as error:
        return Outcome(*about, reason=str(error))
    if image_size is not None:
        decoded = fit_square(decoded, image_size)
    pixels = decoded.pixels
    height, width, _ = pixels.shape
    return Outcome(
        *about,
        traits=decoded.traits,
        encoded=encode_png(pixels),
        size=(height, width),
        moments=Moments.of(pixels),
    )


def _decode(loaded: bytes | np.ndarray, limits: Limits) -> Decoded:
    if isinstance(loaded, bytes):
        return decode_picture(loaded, limits)
    return decode_array(loaded)
