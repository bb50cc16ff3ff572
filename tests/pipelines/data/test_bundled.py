"""The shipped emoji: what the manifest promises holds for the pictures themselves."""

from collections import Counter

import numpy as np
import pytest

from nitrogen.pipelines.data.build_emoji import (
    MAX_CATEGORY_SHARE,
    SKIN_TONES,
    Emoji,
    assign_splits,
    category_name,
    normalized_code,
    split_groups,
    thin_skin_tones,
)
from nitrogen.pipelines.data.loader import ShardDataset
from nitrogen.pipelines.data.manifest import SPLITS, load_manifest
from nitrogen.pipelines.data.prepare import prepare
from nitrogen.pipelines.data.shipped import bundled_emoji

MAX_BYTES = 16 * 2**20


@pytest.fixture(scope="module")
def splits() -> dict[str, ShardDataset]:
    return {split: ShardDataset("bundled:emoji", split) for split in SPLITS}


def test_it_is_small_licensed_and_whole(splits: dict[str, ShardDataset]):
    folder = bundled_emoji()
    assert sum(path.stat().st_size for path in folder.iterdir()) <= MAX_BYTES
    text = (folder / "LICENSES.md").read_text()
    assert all(word in text for word in ("Apache-2.0", "CC-BY-4.0", "MIT", "Twitter", "Microsoft"))
    assert load_manifest(str(folder)).num_classes == 26
    assert splits["train"].images.shape[1:] == (64, 64, 3)


def test_no_category_exceeds_a_quarter(splits: dict[str, ShardDataset]):
    counts = Counter(
        data.classes[label].split("/")[0] for data in splits.values() for label in data.labels
    )
    assert max(counts.values()) <= MAX_CATEGORY_SHARE * sum(counts.values())


def test_one_emoji_lies_in_one_split_with_all_its_forms(splits: dict[str, ShardDataset]):
    where: dict[str, set[str]] = {}
    for split, data in splits.items():
        for key in data.keys:
            style, code = key.split("/")
            where.setdefault(Emoji(style, code, "", False, bundled_emoji()).base, set()).add(split)
    assert len(where) > 1400
    assert all(len(found) == 1 for found in where.values())


def test_no_picture_of_one_split_is_in_another(splits: dict[str, ShardDataset]):
    pixels = {split: {i.tobytes() for i in data.images} for split, data in splits.items()}
    assert not pixels["train"] & pixels["validation"]
    assert not pixels["train"] & pixels["test"]
    assert not pixels["validation"] & pixels["test"]


def test_every_class_is_in_every_split(splits: dict[str, ShardDataset]):
    for data in splits.values():
        assert set(data.labels.tolist()) == set(range(26))


def test_pictures_lie_on_white(splits: dict[str, ShardDataset]):
    corners = splits["train"].images[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == 255).all(-1).mean() > 0.9


@pytest.mark.slow
def test_it_can_be_made_smaller(splits: dict[str, ShardDataset], tmp_path):
    manifest = prepare("bundled:emoji", str(tmp_path / "out"), image_size=32)
    small = ShardDataset(str(tmp_path / "out"), "validation")
    assert manifest.splits == {split: len(data) for split, data in splits.items()}
    large = splits["validation"].images.astype(float)
    mean = large.reshape(len(large), 32, 2, 32, 2, 3).mean((2, 4))
    assert np.abs(small.images - mean).max() <= 1


# ---------------------------------------------------------------- the script's own parts


@pytest.mark.parametrize(
    ("unified", "code"),
    [
        ("0023-FE0F-20E3", "23-20e3"),
        ("00a9-fe0f", "a9"),
        ("1F3F4-E0067_E0062", "1f3f4-e0067-e0062"),
        ("1F600", "1f600"),
    ],
)
def test_one_spelling_for_all_packages(unified: str, code: str):
    assert normalized_code(unified) == code


def emoji(code: str, style: str = "noto", category: str = "people-body") -> Emoji:
    return Emoji(style, code, category, bool(SKIN_TONES & set(code.split("-"))), bundled_emoji())


@pytest.mark.parametrize(
    "code",
    ["1f9d1-200d-1f373", "1f468-200d-1f373", "1f469-1f3fd-200d-1f373", "1f9d1-1f3ff-200d-1f373"],
)
def test_forms_of_one_emoji_have_one_base(code: str):
    assert emoji(code).base == "1f9d1-1f373"


def test_a_category_is_thinned_to_a_quarter():
    plain = [emoji(f"1f{i}", category="food") for i in range(300, 360)]
    toned = [emoji(f"1f{i}-1f3fb") for i in range(400, 500)]
    kept = thin_skin_tones([*plain, emoji("1f399"), *toned])
    people = sum(e.category == "people-body" for e in kept)
    assert (len(kept), people) == (80, 20)


def test_pixel_equal_emoji_share_a_group_across_styles():
    one, two, three = emoji("1f1"), emoji("1f2"), emoji("1f2", "twemoji")
    black, white, grey = (np.full((2, 2, 3), v, np.uint8) for v in (0, 255, 99))
    pixels = {one.key: black, two.key: black, three.key: white}
    assert len(set(split_groups([one, two, three], pixels).values())) == 1
    pixels[two.key] = grey
    groups = split_groups([one, two, three], pixels)
    assert groups[one.key] != groups[two.key] == groups[three.key]


def test_splits_hold_five_percent_of_each_category():
    items = [emoji(f"1f{i}", category=c) for c, n in (("a", 100), ("b", 40)) for i in range(n)]
    items = [Emoji(e.style, f"{e.code}{e.category}", e.category, False, e.path) for e in items]
    splits = assign_splits(items, {e.key: e.key for e in items})
    for category, count in (("a", 5), ("b", 2)):
        mine = [splits[e.key] for e in items if e.category == category]
        assert mine.count("test") == mine.count("validation") == count


def test_category_name():
    assert category_name("Animals & Nature") == "animals-nature"
