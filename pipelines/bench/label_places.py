"""Where the labels of a plot go: beside their points, over no point, line or other label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Directions in the order of preference, as (x, y): lower left is where nothing better lies.
TOWARDS_BETTER = ((-1, -1), (-1, 0), (0, -1), (-1, 1), (1, -1), (0, 1), (1, 0), (1, 1))
TOWARDS_WORSE = ((1, 1), (1, 0), (0, 1), (1, -1), (-1, 1), (0, -1), (-1, 0), (-1, -1))
DISTANCES = (7.0, 12.0, 17.0, 24.0)  # points, from the middle of a marker
NEAR = 3  # distances that a label may have that need not be shown: long lines cross others
CLEARANCE = 2.0  # pixels around a label
MARKER = 3.0  # pixels: a point is as large as its marker
LEADER_FROM = 12.0  # points: from here a line says which point is meant


@dataclass(frozen=True)
class Label:
    """A text at a data point. must: shown even where it touches something."""

    text: str
    x: float
    y: float
    colour: str
    must: bool = False
    bold: bool = False
    directions: Sequence[tuple[int, int]] = TOWARDS_WORSE


def place(
    axes: Any,
    labels: Sequence[Label],
    obstacles: np.ndarray,
    size: float,
    leader: str,
    halo: str,
) -> list[Any]:
    """Draws the labels, the first ones first; one that finds no free place is left out.

    obstacles: [n, 2] in data coordinates, points and samples of lines; size: of the font, points;
    leader, halo: colours of the lines to far labels and of the rim around letters. The layout of
    the figure must be final: places are found in pixels.
    """
    renderer = axes.figure.canvas.get_renderer()
    frame = axes.get_window_extent(renderer)
    taken: list[np.ndarray] = []
    points = axes.transData.transform(obstacles) if len(obstacles) else np.zeros((0, 2))
    drawn = []
    for label in labels:
        text = _draw(axes, label, size, leader, halo)
        extent = text.get_window_extent(renderer)
        at, pixel = axes.transData.transform((label.x, label.y)), axes.figure.dpi / 72
        places = [
            (distance, *direction)
            for distance in DISTANCES[: None if label.must else NEAR]
            for direction in label.directions
        ]
        boxes = [_box(at, extent.width, extent.height, d * pixel, x, y) for d, x, y in places]
        hits = [_touched(box, points, taken, frame) for box in boxes]
        best = int(np.argmin(hits))  # the first of the best
        if hits[best] and not label.must:
            text.remove()
            continue
        _move(text, *places[best])
        taken.append(boxes[best])
        drawn.append(text)
    return drawn


def _box(
    at: np.ndarray, width: float, height: float, distance: float, dx: int, dy: int
) -> np.ndarray:
    """[x0, y0, x1, y1] in pixels of a text that lies in a direction from a point."""
    x, y = at + np.array([dx, dy]) * distance / np.hypot(dx, dy)
    left = x - {-1: width, 0: width / 2, 1: 0.0}[dx]
    low = y - {-1: height, 0: height / 2, 1: 0.0}[dy]
    return np.array([left, low, left + width, low + height]) + CLEARANCE * np.array([-1, -1, 1, 1])


def _touched(box: np.ndarray, points: np.ndarray, taken: Sequence[np.ndarray], frame: Any) -> float:
    """0 where the box [x0, y0, x1, y1] is free; other labels and the frame count most."""
    x0, y0, x1, y1 = box
    near = MARKER * np.array([-1, -1, 1, 1])
    x, y = (box + near)[[0, 2]], (box + near)[[1, 3]]
    inside = (points[:, 0] > x[0]) & (points[:, 0] < x[1])
    inside &= (points[:, 1] > y[0]) & (points[:, 1] < y[1])
    over = sum(bool(x0 < b[2] and b[0] < x1 and y0 < b[3] and b[1] < y1) for b in taken)
    outside = x0 < frame.x0 or x1 > frame.x1 or y0 < frame.y0 or y1 > frame.y1
    return float(inside.sum() + 100 * over + 100 * outside)


def _draw(axes: Any, label: Label, size: float, leader: str, halo: str) -> Any:
    from matplotlib.patheffects import withStroke

    line = {"arrowstyle": "-", "color": leader, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
    text = axes.annotate(
        label.text, (label.x, label.y), xytext=(0, 0), textcoords="offset points", fontsize=size,
        color=label.colour, fontweight="bold" if label.bold else "normal", zorder=7,
        annotation_clip=False, arrowprops=line,
    )  # fmt: skip
    text.set_path_effects([withStroke(linewidth=1.5, foreground=halo)])
    text.arrow_patch.set_visible(False)
    return text


def _move(text: Any, distance: float, dx: int, dy: int) -> None:
    length = float(np.hypot(dx, dy))
    text.set_position((dx * distance / length, dy * distance / length))
    text.set_horizontalalignment({-1: "right", 0: "center", 1: "left"}[dx])
    text.set_verticalalignment({-1: "top", 0: "center", 1: "bottom"}[dy])
    text.arrow_patch.set_visible(distance >= LEADER_FROM)
