"""Grids and heatmaps: every pixel stays a square of its own colour."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from nitrogen.pipelines.report.pixels import (
    data_uri,
    difference,
    grid_png,
    heat_colours,
    image_grid,
    png_bytes,
    shrunk,
)


def decoded(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_grid_places_and_enlarges_without_smoothing():
    images = np.arange(3 * 2 * 2 * 3, dtype=np.uint8).reshape(3, 2, 2, 3)
    grid = image_grid(images, columns=2, scale=3, gap=1)
    assert grid.shape == (2 * 6 + 1, 2 * 6 + 1, 3)
    assert np.array_equal(grid[0:6:3, 0:6:3], images[0])
    assert np.array_equal(grid[7:13:3, 0:6:3], images[2])
    assert {tuple(p) for p in grid[:6, 7:].reshape(-1, 3)} == {
        tuple(p) for p in images[1].reshape(-1, 3)
    }
    assert (grid[7:, 7:] == 255).all()
    assert (grid[6] == 255).all()


def test_grid_takes_grey_pictures_and_chooses_a_square():
    grid = image_grid(np.zeros((9, 4, 4, 1), np.uint8), gap=0)
    assert grid.shape == (12, 12, 3)
    assert decoded(grid_png(np.zeros((2, 4, 4, 3), np.uint8), columns=2, gap=0)).shape == (4, 8, 3)


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [((0, 4, 4, 3), {}), ((2, 4, 4, 4), {}), ((2, 4, 4, 3), {"scale": 0}), ((4, 4, 3), {})],
)
def test_impossible_grids_are_refused(shape, arguments):
    with pytest.raises(ValueError, match="must be"):
        image_grid(np.zeros(shape, np.uint8), **arguments)


def test_difference_is_white_where_equal_and_dark_where_not():
    a = np.full((1, 2, 2, 3), 100, np.uint8)
    b = a.copy()
    b[0, 0, 0] = 110
    b[0, 1, 1] = 0
    gap = difference(a, b, gain=4)
    assert gap[0, 0, 1].tolist() == [255] * 3
    assert gap[0, 0, 0].tolist() == [215] * 3
    assert gap[0, 1, 1].tolist() == [0] * 3
    assert np.array_equal(gap, difference(b, a, gain=4))


def test_heat_grows_brighter_and_clips():
    colours = heat_colours(np.linspace(0, 1, 50))
    lightness = colours @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > -1e-9).all()
    assert heat_colours(np.array([-1.0, np.nan, 2.0]))[[0, 1]].max() < 10
    assert np.array_equal(heat_colours(np.array([5.0])), heat_colours(np.array([1.0])))


def test_png_is_lossless():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(decoded(png_bytes(image)), image)
    prefix, _, payload = data_uri(image).partition(",")
    assert prefix == "data:image/png;base64"
    assert np.array_equal(decoded(base64.b64decode(payload)), image)


def test_shrinking_averages_squares():
    image = np.zeros((4, 5, 3), np.uint8)
    image[:2, :2] = [[[10], [30]], [[50], [70]]]
    smaller = shrunk(image, 2)
    assert smaller.shape == (2, 3, 3)
    assert smaller[0, 0].tolist() == [40] * 3
    assert shrunk(image[..., :1], 2).shape == (2, 3, 1)
