"""Pictures as PNG bytes: grids, differences, heatmaps. Nothing is ever smoothed.

Pictures are enlarged by whole factors, each pixel a square, so that 32 px stay what they are.
"""

from __future__ import annotations

import base64
import io

import numpy as np

DIFFERENCE_GAIN = 4
# Inferno at 9 equal steps (Smith and van der Walt 2015, CC0): even in lightness, readable in grey.
_HEAT = np.array(
    [
        [0, 0, 4],
        [31, 12, 72],
        [85, 15, 109],
        [136, 34, 106],
        [186, 54, 85],
        [227, 89, 51],
        [249, 140, 10],
        [249, 201, 50],
        [252, 255, 164],
    ],
    dtype=np.float64,
)


def enlarged(images: np.ndarray, scale: int) -> np.ndarray:
    """images [..., h, w, c] with every pixel repeated: [..., h * scale, w * scale, c]."""
    return images.repeat(scale, axis=-3).repeat(scale, axis=-2)


def image_grid(
    images: np.ndarray, columns: int | None = None, scale: int = 1, gap: int = 2
) -> np.ndarray:
    """One picture uint8 [H, W, 3] of images uint8 [n, h, w, 1 or 3], row by row, on white.

    columns: 0 < columns, None = as square as possible; scale: whole factor of enlargement; gap:
    pixels between pictures. An empty list gives ValueError.
    """
    if images.ndim != 4 or not len(images) or images.shape[-1] not in (1, 3):
        raise ValueError(f"images must be [n, h, w, 3] with n >= 1, got {list(images.shape)}.")
    if (columns is not None and columns < 1) or scale < 1 or gap < 0:
        raise ValueError(
            f"columns and scale must be at least 1, gap at least 0, got {columns}, {scale}, {gap}."
        )
    tiles = enlarged(np.repeat(images, 3 // images.shape[-1], axis=-1), scale)
    n, height, width, _ = tiles.shape
    columns = min(n, columns or int(np.ceil(np.sqrt(n))))
    rows = -(-n // columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, 3)
    grid = np.full(shape, 255, dtype=np.uint8)
    for index, tile in enumerate(tiles):
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        grid[top : top + height, left : left + width] = tile
    return grid


def grid_png(images: np.ndarray, columns: int | None = None, scale: int = 1, gap: int = 2) -> bytes:
    """image_grid as PNG bytes: for MLflow and for the README."""
    return png_bytes(image_grid(images, columns, scale, gap))


def difference(
    images: np.ndarray, reference: np.ndarray, gain: int = DIFFERENCE_GAIN
) -> np.ndarray:
    """White where equal, darker by gain times the distance; uint8, the shape of both."""
    gap = np.abs(images.astype(np.int16) - reference.astype(np.int16))
    return (255 - np.clip(gap * gain, 0, 255)).astype(np.uint8)


def shrunk(image: np.ndarray, factor: int) -> np.ndarray:
    """uint8 [h, w, 1 or 3] made smaller by a whole factor, each pixel the mean of its square."""
    from PIL import Image

    squeezed = image[..., 0] if image.shape[-1] == 1 else image
    smaller = np.asarray(Image.fromarray(np.ascontiguousarray(squeezed)).reduce(factor))
    return smaller[..., None] if smaller.ndim == 2 else smaller


def heat_colours(values: np.ndarray) -> np.ndarray:
    """uint8 [..., 3] of values [...] in 0..1 (clipped): black is 0, pale yellow is 1."""
    position = np.clip(np.nan_to_num(values), 0.0, 1.0) * (len(_HEAT) - 1)
    low = np.minimum(position.astype(int), len(_HEAT) - 2)
    weight = (position - low)[..., None]
    return np.rint(_HEAT[low] * (1 - weight) + _HEAT[low + 1] * weight).astype(np.uint8)


def png_bytes(image: np.ndarray) -> bytes:
    """PNG of uint8 [h, w, 1 or 3 or 4]."""
    from PIL import Image

    squeezed = image[..., 0] if image.shape[-1] == 1 else image
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(squeezed)).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def data_uri(image: np.ndarray) -> str:
    """A data: URI of the PNG, for <img src>."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(image)).decode("ascii")
