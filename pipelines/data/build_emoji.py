"""Rebuilds the bundled emoji data set from the published npm packages.

    npm install emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0 \
        @lobehub/fluent-emoji-3d@1.1.0
    python -m nitrogen.pipelines.data.build_emoji node_modules pipelines/data/bundled/emoji64

Noto, Twemoji and Fluent pictures at 64x64, composited on white, as lossless WebP. The label is
category x style ("animals-nature/noto"). Four decisions, each repeated in the manifest's notes:

- Split by base emoji: all styles, skin tones and gendered forms of one emoji share a split, and so
  do emoji that any style draws with the very same pixels (flags of territories).
- Skin tones are thinned until no category exceeds a quarter of the set.
- The five swatches of the category "Component" are dropped: too few for a class.
- The flags of the Fluent package are dropped: Fluent draws no national flags, and the package fills
  the gap with an older Noto release.
"""

import argparse
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from nitrogen.pipelines.data.moments import Moments
from nitrogen.pipelines.data.shards import ShardWriter, check_target, clear_target

IMAGE_SIZE = 64
STYLES = ("noto", "twemoji", "fluent")
MAX_CATEGORY_SHARE = 0.25
HELD_OUT_SHARE = 0.05
SKIN_TONES = frozenset({"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"})
# Man, woman and person are one base: their pictures differ by a detail.
PEOPLE = {"1f468": "1f9d1", "1f469": "1f9d1"}
PRESENTATION = frozenset({"fe0f", "2640", "2642", "200d", "27a1"})

NOTES = (
    "RGB: the packages' RGBA pictures are composited on white.",
    "Fluent pictures are reduced from 256x256 to 64x64 by area.",
    "Label = category x style. The category 'Component' (5 swatches) is dropped, and so are the "
    "flags of the Fluent package, which are older Noto drawings.",
    "Split 90/5/5 of each category by base emoji: styles, skin tones, gendered forms and "
    "pixel-equal emoji of different code points stay together. Pixel-equal copies within a class "
    "are dropped.",
    "Skin-tone variants are thinned, in the order of the sha256 of their key, so that no category "
    "exceeds a quarter of the set.",
    "Sources: emoji-datasource-google 16.0.0 (Noto, Apache-2.0), emoji-datasource-twitter 16.0.0 "
    "(Twemoji, CC-BY-4.0), @lobehub/fluent-emoji-3d 1.1.0 (Fluent, MIT). See LICENSES.md.",
)


@dataclass(frozen=True)
class Emoji:
    """One picture of the packages: where it lies and what it shows."""

    style: str
    code: str  # hyphenated lower-case code points, without the presentation selector
    category: str
    has_skin_tone: bool
    path: Path

    @property
    def key(self) -> str:
        return f"{self.style}/{self.code}"

    @property
    def class_name(self) -> str:
        return f"{self.category}/{self.style}"

    @property
    def base(self) -> str:
        parts = (PEOPLE.get(p, p) for p in self.code.split("-"))
        kept = [p for p in parts if p not in SKIN_TONES and p not in PRESENTATION]
        return "-".join(kept) or self.code


def normalized_code(unified: str) -> str:
    """'0023-FE0F-20E3' -> '23-20e3': one spelling for the three packages' file names."""
    parts = unified.lower().replace("_", "-").split("-")
    return "-".join(part.lstrip("0") for part in parts if part != "fe0f")


def category_name(category: str) -> str:
    """'Animals & Nature' -> 'animals-nature'."""
    return category.lower().replace(" & ", "-").replace(" ", "-")


def find_emoji(node_modules: Path) -> list[Emoji]:
    """Returns every picture of the three packages, ordered by key."""
    table = json.loads((node_modules / "emoji-datasource-google/emoji.json").read_text("utf-8"))
    fluent_dir = node_modules / "@lobehub/fluent-emoji-3d/assets"
    fluent = {normalized_code(p.stem): p for p in sorted(fluent_dir.glob("*.webp"))}
    found: list[Emoji] = []
    for entry in table:
        category = category_name(entry["category"])
        if category == "component":
            continue
        variations = [(entry, False), *((v, True) for v in _tones(entry))]
        for variation, has_tone in variations:
            code = normalized_code(variation["unified"])
            for style, path in _pictures(node_modules, fluent, variation, code):
                if (style, category) == ("fluent", "flags"):
                    continue
                found.append(Emoji(style, code, category, has_tone, path))
    return sorted(found, key=lambda e: e.key)


def _tones(entry: dict) -> Iterator[dict]:
    yield from entry.get("skin_variations", {}).values()


def _pictures(
    node_modules: Path, fluent: dict[str, Path], variation: dict, code: str
) -> Iterator[tuple[str, Path]]:
    for style, vendor in (("noto", "google"), ("twemoji", "twitter")):
        path = node_modules / f"emoji-datasource-{vendor}/img/{vendor}/64" / variation["image"]
        if variation[f"has_img_{vendor}"] and path.exists():
            yield style, path
    if code in fluent:
        yield "fluent", fluent[code]


def thin_skin_tones(emoji: list[Emoji]) -> list[Emoji]:
    """Keeps as many skin-tone variants as the cap on a category's share allows."""
    plain = [e for e in emoji if not e.has_skin_tone]
    toned = sorted((e for e in emoji if e.has_skin_tone), key=lambda e: _hash(e.key))
    kept = list(plain)
    counts: dict[str, int] = {}
    for item in plain:
        counts[item.category] = counts.get(item.category, 0) + 1
    for item in toned:
        share = (counts[item.category] + 1) / (len(kept) + 1)
        if share <= MAX_CATEGORY_SHARE:
            kept.append(item)
            counts[item.category] += 1
    return sorted(kept, key=lambda e: e.key)


def load_pixels(path: Path) -> np.ndarray:
    """Returns uint8 [64, 64, 3]: composited on white, then reduced by area."""
    with Image.open(path) as picture:
        rgba = picture.convert("RGBA")
    canvas = Image.new("RGBA", rgba.size, "white")
    canvas.alpha_composite(rgba)
    return np.asarray(canvas.convert("RGB").resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BOX))


def drop_copies(emoji: list[Emoji], pixels: dict[str, np.ndarray]) -> list[Emoji]:
    """Drops pictures that equal another one of their class, pixel for pixel."""
    seen: set[tuple[str, bytes]] = set()
    kept = []
    for item in emoji:
        identity = (item.class_name, pixels[item.key].tobytes())
        if identity not in seen:
            seen.add(identity)
            kept.append(item)
    return kept


def split_groups(emoji: list[Emoji], pixels: dict[str, np.ndarray]) -> dict[str, str]:
    """Returns key -> name of the group that must stay in one split (union-find)."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            name = parent[name]
        return name

    for item in emoji:
        pair = sorted((root(item.base), root(f"pixels {_hash(pixels[item.key].tobytes())}")))
        parent[pair[1]] = pair[0]
    return {item.key: root(item.base) for item in emoji}


def assign_splits(emoji: list[Emoji], groups: dict[str, str]) -> dict[str, str]:
    """Returns group -> split: of each category 5 % test, 5 % validation, by the group's hash."""
    members: dict[str, dict[str, int]] = {}
    category_of: dict[str, str] = {}
    for item in emoji:
        # A group of two categories (equal pixels) counts for the first one.
        category = category_of.setdefault(groups[item.key], item.category)
        sizes = members.setdefault(category, {})
        sizes[groups[item.key]] = sizes.get(groups[item.key], 0) + 1
    splits: dict[str, str] = {}
    for sizes in members.values():
        share = HELD_OUT_SHARE * sum(sizes.values())
        num_seen = 0
        for group in sorted(sizes, key=_hash):
            seen = num_seen / share
            splits[group] = "test" if seen < 1 else "validation" if seen < 2 else "train"
            num_seen += sizes[group]
    return splits


def build(node_modules: Path, out: Path) -> None:
    """Writes shards and manifest to `out`, replacing what is there."""
    found = find_emoji(node_modules)
    pixels = {item.key: load_pixels(item.path) for item in found}
    # Groups come from all pictures, dropped ones too, so that a copy never links two splits.
    groups = split_groups(found, pixels)
    emoji = thin_skin_tones(drop_copies(found, pixels))
    splits = assign_splits(emoji, groups)
    classes = sorted({e.class_name for e in emoji})
    check_target(str(out), overwrite=True)
    clear_target(str(out))
    writer = ShardWriter(str(out), classes=classes, image_size=(IMAGE_SIZE, IMAGE_SIZE))
    for item in emoji:
        buffer = io.BytesIO()
        image = Image.fromarray(pixels[item.key])
        image.save(buffer, "WEBP", lossless=True, quality=75, method=4)
        writer.add(
            split=splits[groups[item.key]],
            key=item.key,
            label=classes.index(item.class_name),
            size=(IMAGE_SIZE, IMAGE_SIZE),
            moments=Moments.of(pixels[item.key]),
            encoded=buffer.getvalue(),
        )
    manifest = writer.finish(name="emoji64", notes=NOTES)
    print(f"{sum(manifest.splits.values())} pictures, {manifest.splits}, digest {manifest.digest}")


def _hash(value: str | bytes) -> str:
    return hashlib.sha256(value.encode() if isinstance(value, str) else value).hexdigest()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("node_modules", type=Path, help="folder with the three npm packages")
    parser.add_argument("out", type=Path, help="folder for the shards and the manifest")
    arguments = parser.parse_args()
    build(arguments.node_modules, arguments.out)
