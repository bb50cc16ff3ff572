"""Generated scenes: the same every time, each split out of its own emoji, cut out cleanly."""

from pathlib import Path

import numpy as np
import pytest

from nitrogen.pipelines.data import scenes
from nitrogen.pipelines.data.build_emoji import Emoji
from nitrogen.pipelines.data.loader import ShardDataset
from nitrogen.pipelines.data.prepare import prepare
from nitrogen.pipelines.data.scenes import SCENE_SIZE, SceneSource, background, without_white
from nitrogen.pipelines.data.shipped import resolve
from nitrogen.pipelines.steps.prepare import PrepareConfig, fingerprint
from nitrogen.platform.errors import DataError

FEW = {"train": 40, "validation": 20, "test": 20}


@pytest.fixture(scope="module")
def source() -> SceneSource:
    return SceneSource(num_scenes=FEW)


def base(key: str) -> str:
    style, code = key.split("/")
    return Emoji(style, code, "", False, Path()).base


def test_a_scene_follows_from_seed_split_and_index(source: SceneSource):
    again = SceneSource(num_scenes={"train": 3})
    np.testing.assert_array_equal(source.pixels("train", 2), again.pixels("train", 2))
    other = SceneSource(seed=1, num_scenes={"train": 3})
    assert (source.pixels("train", 2) != other.pixels("train", 2)).any()
    assert (source.pixels("train", 1) != source.pixels("train", 2)).any()


def test_no_emoji_of_one_split_is_in_another(source: SceneSource):
    seen = {
        split: {base(key) for i in range(200) for key in source.members(split, i)} for split in FEW
    }
    assert all(len(keys) > 20 for keys in seen.values())
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["validation"]
    assert not seen["validation"] & seen["test"]


def test_layouts_are_uneven_and_inside(source: SceneSource):
    layouts = [source.layout("train", i) for i in range(300)]
    counts = np.bincount([len(layout.objects) for layout in layouts], minlength=4)
    assert counts[0] == 0
    assert (counts[1:] > 40).all()
    for layout in layouts:
        sides = [placed.side for placed in layout.objects]
        assert sides == sorted(sides, reverse=True)
        for placed in layout.objects:
            assert placed.left >= 0
            assert placed.left + placed.side <= SCENE_SIZE
            assert placed.top >= 0
            assert placed.top + placed.side <= SCENE_SIZE
    centres = [(p.left + p.side / 2, p.top + p.side / 2) for la in layouts for p in la.objects]
    assert (np.std(centres, axis=0) > 8).all()


def test_the_class_is_that_of_the_largest_emoji(source: SceneSource):
    classes = dict(zip(_emoji("test").keys, _emoji("test").labels.tolist(), strict=True))
    for picture in list(source.pictures())[-FEW["test"] :]:
        index = int(picture.key.split("/")[1])
        assert picture.label == classes[source.members("test", index)[0]]


def _emoji(split: str) -> ShardDataset:
    return ShardDataset("bundled:emoji", split)


def test_white_is_cut_away_only_where_it_touches_the_border():
    pixels = np.full((16, 16, 3), 255, np.uint8)
    pixels[4:12, 4:12] = (200, 0, 0)
    pixels[7:9, 7:9] = 255  # a white eye stays
    pixels[4, 4:12] = (228, 128, 128)  # an antialiased edge: half red, half white
    cut = without_white(pixels)
    assert (cut[:4, :, 3] == 0).all()
    assert (cut[5:11, 5:11, 3] == 255).all()
    assert (cut[7, 7] == 255).all()
    red = cut[4, 6]
    assert abs(int(red[3]) - 127) <= 2
    assert red[0] > 195
    assert red[1] <= 2
    # Back on white it is what it was.
    alpha = cut[..., 3:] / 255
    np.testing.assert_allclose(cut[..., :3] * alpha + 255 * (1 - alpha), pixels, atol=2)


def test_a_gradient_runs_from_one_colour_to_the_other():
    colours = np.array([[0, 0, 0], [200, 100, 50]], np.uint8)
    drawn = background(colours, 0.0)
    assert (drawn[:, 0] == 0).all()
    assert (drawn[:, -1] == colours[1]).all()
    assert (background(colours[[1, 1]], 1.0) == colours[1]).all()


@pytest.mark.slow
def test_prepare_writes_them_with_their_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scenes, "NUM_SCENES", FEW)
    manifest = prepare("bundled:scenes", str(tmp_path / "scenes"))
    assert manifest.splits == FEW
    assert manifest.image_size == (64, 64)
    assert manifest.classes == _emoji("test").classes
    data = ShardDataset(str(tmp_path / "scenes"), "test")
    source = SceneSource(num_scenes=FEW)
    index = int(data.keys[3].split("/")[1])
    np.testing.assert_array_equal(data.images[3], source.pixels("test", index))


def test_scenes_are_not_a_data_set_before_they_are_prepared():
    with pytest.raises(DataError, match="nitrogen data prepare bundled:scenes"):
        resolve("bundled:scenes")
    assert fingerprint(PrepareConfig(source="bundled:scenes", image_size=64))["source"]
