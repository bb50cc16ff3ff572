"""Scenes: one to three bundled emoji at random place, scale and background, 64 px.

Centred emoji on white make "compute the centre" nearly the best plan; here easy and hard regions
lie somewhere else in every picture. Everything about a scene follows from (seed, split, index).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from nitrogen.pipelines.data.loader import ShardDataset
from nitrogen.pipelines.data.manifest import SPLITS
from nitrogen.pipelines.data.source import Picture

SCENE_SIZE = 64  # px
NUM_SCENES: Mapping[str, int] = {"train": 20_000, "validation": 1_000, "test": 2_000}
NUM_OBJECTS_SHARES = (0.4, 0.35, 0.25)  # of scenes with 1, 2 and 3 emoji
SCALES = (0.25, 0.8)  # side of an emoji over the side of the scene
MIN_WHITE = 248  # of every channel of a pixel that may be background
NOTES = (
    "Generated: 1 to 3 emoji of one style at random place, scale and background; a scene's class "
    "is that of its largest emoji.",
    "A scene holds emoji of its own split only, and the emoji's splits follow their base code "
    "points: no emoji of a test scene, in any style, is in a training scene.",
    "The emoji are cut out of white: white parts that touch the border go with the background.",
)


@dataclass(frozen=True)
class Placed:
    """One emoji of a scene: its index in its split, and the square it fills, in px."""

    index: int
    left: int
    top: int
    side: int


@dataclass(frozen=True)
class Layout:
    """A scene before it is drawn. objects: largest first, drawn in that order.

    colours: uint8 [2, 3], the ends of the background's gradient; angle: its direction in radians.
    """

    objects: tuple[Placed, ...]
    colours: np.ndarray
    angle: float


class SceneSource:
    """A source of `num_scenes` scenes of each split, with the classes of the bundled emoji."""

    def __init__(self, seed: int = 0, num_scenes: Mapping[str, int] | None = None) -> None:
        self.seed = seed
        self._counts = dict(num_scenes or NUM_SCENES)
        self._emoji = {split: _Emoji(split) for split in SPLITS if self._counts.get(split)}
        self.name = "scenes64"
        self.splits = frozenset(self._emoji)
        self.notes: tuple[str, ...] = NOTES
        self.classes = tuple(next(iter(self._emoji.values())).data.classes)
        self.num_pictures = sum(self._counts.values())

    def pictures(self) -> Iterator[Picture]:
        for split in self._emoji:
            for index in range(self._counts[split]):
                label = self.label(split, index)
                load = partial(self.pixels, split, index)
                yield Picture(f"{split}/{index:06d}", label, split, load)

    def layout(self, split: str, index: int) -> Layout:
        """What scene `index` of `split` shows, and where."""
        words = [self.seed, SPLITS.index(split), index]
        return draw_layout(np.random.default_rng(words), self._emoji[split])

    def label(self, split: str, index: int) -> int:
        """The class of the largest emoji."""
        return int(self._emoji[split].data.labels[self.layout(split, index).objects[0].index])

    def members(self, split: str, index: int) -> tuple[str, ...]:
        """Keys of the bundled emoji in the scene."""
        keys = self._emoji[split].data.keys
        return tuple(keys[placed.index] for placed in self.layout(split, index).objects)

    def pixels(self, split: str, index: int) -> np.ndarray:
        """uint8 [64, 64, 3]."""
        layout = self.layout(split, index)
        scene = Image.fromarray(background(layout.colours, layout.angle))
        for placed in layout.objects:
            cut = self._emoji[split].cut_out(placed.index)
            small = cut.resize((placed.side, placed.side), Image.Resampling.BOX)
            scene.paste(small, (placed.left, placed.top), small)
        return np.asarray(scene)


class _Emoji:
    """The bundled emoji of one split, and by style; cut out when asked for."""

    def __init__(self, split: str) -> None:
        self.data = ShardDataset("bundled:emoji", split)
        styles = np.array([key.split("/")[0] for key in self.data.keys])
        self.by_style = [np.flatnonzero(styles == style) for style in sorted(set(styles))]
        self._cut: dict[int, Image.Image] = {}

    def cut_out(self, index: int) -> Image.Image:
        if index not in self._cut:
            self._cut[index] = Image.fromarray(without_white(self.data.images[index]), "RGBA")
        return self._cut[index]


def draw_layout(generator: np.random.Generator, emoji: _Emoji) -> Layout:
    """Draws the emoji, their places and the background of one scene."""
    num = 1 + int(generator.choice(len(NUM_OBJECTS_SHARES), p=NUM_OBJECTS_SHARES))
    pool = emoji.by_style[generator.integers(len(emoji.by_style))]
    sides = np.sort(np.round(generator.uniform(*SCALES, num) * SCENE_SIZE).astype(int))[::-1]
    objects = []
    for side in sides:
        left, top = generator.integers(0, SCENE_SIZE - side + 1, 2)
        objects.append(Placed(int(generator.choice(pool)), int(left), int(top), int(side)))
    kind = generator.integers(3)
    colours = generator.integers(0, 256, (2, 3)).astype(np.uint8)
    if kind == 0:
        colours[:] = 255  # white, as in the bundled set
    elif kind == 1:
        colours[1] = colours[0]
    return Layout(tuple(objects), colours, float(generator.uniform(0, 2 * np.pi)))


def background(colours: np.ndarray, angle: float) -> np.ndarray:
    """A linear gradient from one colour to the other: uint8 [64, 64, 3]."""
    across = np.linspace(-1, 1, SCENE_SIZE)
    along = np.cos(angle) * across[None, :] + np.sin(angle) * across[:, None]
    share = ((along / np.abs(along).max() + 1) / 2)[..., None]
    first, second = colours.astype(np.float64)
    return np.round(first + share * (second - first)).astype(np.uint8)


def without_white(pixels: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3] on white -> RGBA [h, w, 4]: the white that touches the border is cut away.

    A pixel on the rim is a mixture of white and of the emoji behind it: its share is taken from
    the darkest channel against that of its darkest neighbour, and white is taken out of it.
    """
    outside = flood(pixels.min(axis=-1) >= MIN_WHITE)
    rim = spread(outside) & ~outside
    dark = 255.0 - pixels.min(axis=-1)
    darkest = np.max(_neighbours(dark), axis=0)
    alpha = np.where(outside, 0.0, 1.0)
    alpha = np.where(rim, np.clip(dark / np.maximum(darkest, 1.0), 1 / 255, 1.0), alpha)
    safe = np.maximum(alpha, 1 / 255)[..., None]
    colour = np.clip((pixels - (1 - alpha[..., None]) * 255.0) / safe, 0, 255)
    rgba = np.concatenate([colour, 255.0 * alpha[..., None]], axis=-1)
    return np.round(rgba).astype(np.uint8)


def flood(free: np.ndarray) -> np.ndarray:
    """The part of `free` (bool [h, w]) that the border reaches over the four neighbours."""
    reached = np.zeros_like(free)
    reached[[0, -1], :], reached[:, [0, -1]] = free[[0, -1], :], free[:, [0, -1]]
    while True:
        grown = spread(reached) & free
        if (grown == reached).all():
            return reached
        reached = grown


def spread(mask: np.ndarray) -> np.ndarray:
    """mask and its four neighbours: bool [h, w]."""
    return np.asarray(_neighbours(mask)[:5].any(axis=0))


def _neighbours(values: np.ndarray) -> np.ndarray:
    """[9, h, w]: each pixel, the four beside it, the four across corners; 0 beyond the border."""
    padded = np.pad(values, 1)
    h, w = values.shape
    shifts = [(1, 1), (0, 1), (2, 1), (1, 0), (1, 2), (0, 0), (0, 2), (2, 0), (2, 2)]
    return np.stack([padded[y : y + h, x : x + w] for y, x in shifts])
