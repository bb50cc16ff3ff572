"""The whole way from a source to a data set that the loader reads."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nitrogen.pipelines.data import prepare as preparation
from nitrogen.pipelines.data.limits import Limits
from nitrogen.pipelines.data.loader import ShardDataset
from nitrogen.pipelines.data.manifest import load_manifest
from nitrogen.pipelines.data.prepare import prepare
from nitrogen.platform.errors import DataError


def test_every_picture_arrives_with_its_class_and_its_pixels(folder: Path, tmp_path: Path):
    manifest = prepare(str(folder), str(tmp_path / "out"))

    assert manifest == load_manifest(str(tmp_path / "out"))
    assert manifest.classes == ("ant", "bee", "cow")
    assert (manifest.name, manifest.image_size) == ("source", (16, 16))
    seen = {}
    for split in ("train", "validation", "test"):
        data = ShardDataset(str(tmp_path / "out"), split)
        assert len(data) == manifest.splits[split]
        for image, label, key in zip(data.images, data.labels, data.keys, strict=True):
            assert key.startswith(manifest.classes[label] + "/")
            seen[key] = image
    assert len(seen) == 30
    for key, image in seen.items():
        assert np.array_equal(image, np.asarray(Image.open(folder / key)))


def test_a_small_source_has_every_class_in_every_split(folder: Path, tmp_path: Path):
    manifest = prepare(str(folder), str(tmp_path / "out"))
    assert manifest.splits == {"train": 24, "validation": 3, "test": 3}
    assert all(min(counts.values()) == 1 for counts in manifest.class_counts.values())


def test_statistics_are_those_of_the_train_split(folder: Path, tmp_path: Path):
    manifest = prepare(str(folder), str(tmp_path / "out"))
    values = ShardDataset(str(tmp_path / "out"), "train").images / 127.5 - 1
    np.testing.assert_allclose(manifest.channel_mean, values.mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(manifest.channel_std, values.std((0, 1, 2)), atol=1e-6)


def test_the_same_source_has_the_same_digest_and_another_has_not(folder: Path, tmp_path: Path):
    first = prepare(str(folder), str(tmp_path / "one"))
    shutil.copytree(folder, tmp_path / "copy")
    assert prepare(str(tmp_path / "copy"), str(tmp_path / "two")).digest == first.digest
    Image.new("RGB", (16, 16)).save(tmp_path / "copy/ant/00.png")
    assert prepare(str(tmp_path / "copy"), str(tmp_path / "three")).digest != first.digest


def test_mixed_sizes_need_an_image_size(folder: Path, tmp_path: Path):
    Image.new("RGB", (20, 10)).save(folder / "bee/wide.png")
    with pytest.raises(DataError, match=r"image_size must be given.*16x16.*20x10 \(bee/wide.png\)"):
        prepare(str(folder), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()

    manifest = prepare(str(folder), str(tmp_path / "out"), image_size=8)
    assert manifest.image_size == (8, 8)
    assert any("Not square" in note and ": 1 pictures" in note for note in manifest.notes)


def test_pictures_that_are_not_square_need_an_image_size(tmp_path: Path):
    (tmp_path / "source/a").mkdir(parents=True)
    for i in range(5):
        Image.new("RGB", (12, 8)).save(tmp_path / f"source/a/{i}.png")
    with pytest.raises(DataError, match="not square, got 12x8"):
        prepare(str(tmp_path / "source"), str(tmp_path / "out"))


def test_broken_pictures_are_counted_and_listed(folder: Path, tmp_path: Path):
    (folder / "ant/zero.png").write_bytes(b"")
    (folder / "bee/text.jpg").write_text("not a picture")
    whole = (folder / "cow/00.png").read_bytes()
    (folder / "cow/cut.png").write_bytes(whole[: len(whole) // 2])

    manifest = prepare(str(folder), str(tmp_path / "out"))

    assert manifest.num_broken == 3
    assert {entry.key: entry.reason.split(" (")[0] for entry in manifest.broken} == {
        "ant/zero.png": "empty file",
        "bee/text.jpg": "not a PNG, JPEG, WebP, BMP or GIF picture",
        "cow/cut.png": "does not decode",
    }
    assert sum(manifest.splits.values()) == 30
    assert any(
        "Not usable and skipped: 3 pictures; `broken` lists all." in note for note in manifest.notes
    )


def test_a_source_of_broken_pictures_only(tmp_path: Path):
    (tmp_path / "source/a").mkdir(parents=True)
    (tmp_path / "source/a/x.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"got 1 that cannot \(first: a/x.png"):
        prepare(str(tmp_path / "source"), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_pictures_for_three_splits(tmp_path: Path, count: int):
    (tmp_path / "source/a").mkdir(parents=True)
    for i in range(count):
        Image.new("RGB", (8, 8)).save(tmp_path / f"source/a/{i}.png")
    with pytest.raises(DataError, match=f"at least 3 readable pictures to train on, got {count}"):
        prepare(str(tmp_path / "source"), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_finished_data_set_is_replaced_only_when_asked(folder: Path, tmp_path: Path):
    out = str(tmp_path / "out")
    prepare(str(folder), out)
    with pytest.raises(DataError, match=r"out must not hold a finished data set.*--overwrite"):
        prepare(str(folder), out, image_size=8)
    assert load_manifest(out).image_size == (16, 16)
    assert prepare(str(folder), out, image_size=8, overwrite=True).image_size == (8, 8)
    assert ShardDataset(out, "train").images.shape == (24, 8, 8, 3)


def test_a_source_that_fails_leaves_the_older_data_set_alone(folder: Path, tmp_path: Path):
    out = str(tmp_path / "out")
    prepare(str(folder), out)
    Image.new("RGB", (20, 10)).save(folder / "bee/wide.png")
    with pytest.raises(DataError, match="mixed sizes"):
        prepare(str(folder), out, overwrite=True)
    assert len(ShardDataset(out, "train")) == 24


def test_what_a_cut_off_preparation_left_is_refused_by_the_loader_and_replaced(
    folder: Path, tmp_path: Path
):
    out = tmp_path / "out"
    prepare(str(folder), str(out))
    (out / "manifest.json").unlink()
    shutil.copy(out / "train-00000.parquet", out / "train-00007.parquet")
    with pytest.raises(DataError, match=r"without manifest\.json"):
        ShardDataset(str(out), "train")
    prepare(str(folder), str(out))
    assert not (out / "train-00007.parquet").exists()
    assert len(ShardDataset(str(out), "train")) == 24


def test_a_killed_preparation_can_be_repeated(folder: Path, tmp_path: Path):
    """Killed between writing a draft and giving it its name: the worst moment."""
    out = tmp_path / "out"
    code = (
        "import os, signal, sys\n"
        "os.replace = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from nitrogen.pipelines.data.prepare import prepare\n"
        "prepare(sys.argv[1], sys.argv[2])\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(folder), str(out)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [path.name[:21] for path in out.iterdir()] == [".train-00000.parquet."]
    prepare(str(folder), str(out))
    assert {path.name for path in out.iterdir()} == {
        "manifest.json",
        "test-00000.parquet",
        "train-00000.parquet",
        "validation-00000.parquet",
    }


def test_a_file_cannot_be_the_target(folder: Path, tmp_path: Path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(DataError, match="out must be a folder or s3://, got the file"):
        prepare(str(folder), str(tmp_path / "out"), overwrite=True)


@pytest.mark.parametrize(("source", "out"), [("", "x"), ("x", "")])
def test_nothing_is_no_place(source: str, out: str):
    with pytest.raises(DataError, match="must be a path or URI, got nothing"):
        prepare(source, out)


def test_a_failure_while_writing_leaves_no_shard(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    written = []

    def fail(*args: object, **options: object) -> None:
        written.extend((tmp_path / "out").glob("*.parquet"))
        raise KeyboardInterrupt

    monkeypatch.setattr("nitrogen.pipelines.data.shards.MAX_SHARD_ENCODED_BYTES", 1)
    monkeypatch.setattr("nitrogen.pipelines.data.shards.ShardWriter.finish", fail)
    with pytest.raises(KeyboardInterrupt):
        prepare(str(folder), str(tmp_path / "out"))
    assert written
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".kept-000000.part"]


def test_files_of_others_are_never_deleted(folder: Path, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("mine")
    with pytest.raises(DataError, match=r"with 'thesis.txt' in it"):
        prepare(str(folder), str(tmp_path / "out"), overwrite=True)
    assert (tmp_path / "out/thesis.txt").exists()


@pytest.mark.parametrize("inside", ["", "ant", "new/place"])
def test_out_must_lie_outside_the_source(folder: Path, inside: str):
    with pytest.raises(DataError, match="out must lie outside the source"):
        prepare(str(folder), str(folder / inside))


def test_a_large_source_is_split_by_the_hash_of_the_key(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(preparation, "SMALL_SOURCE", 5)
    prepare(str(folder), str(tmp_path / "one"))
    before = _splits(tmp_path / "one")
    (folder / "ant/aa-new.png").write_bytes((folder / "ant/00.png").read_bytes())
    prepare(str(folder), str(tmp_path / "two"))
    after = _splits(tmp_path / "two")
    assert len(before) == 30
    assert before.items() < after.items()


def _splits(out: Path) -> dict[str, str]:
    splits = [split for split, count in load_manifest(str(out)).splits.items() if count]
    return {key: split for split in splits for key in ShardDataset(str(out), split).keys}


def test_many_shards_read_like_one(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    prepare(str(folder), str(tmp_path / "one"))
    monkeypatch.setattr("nitrogen.pipelines.data.shards.MAX_SHARD_DECODED_BYTES", 7 * 16 * 16 * 3)
    manifest = prepare(str(folder), str(tmp_path / "many"))
    rows = [shard.rows for shard in manifest.shards if shard.split == "train"]
    assert rows == [7, 7, 7, 3]
    one, many = (ShardDataset(str(tmp_path / name), "train") for name in ("one", "many"))
    assert one.keys == many.keys
    assert np.array_equal(one.images, many.images)


@pytest.mark.parametrize("image_size", [0, -4, 100_000])
def test_a_senseless_image_size(folder: Path, tmp_path: Path, image_size: int):
    with pytest.raises(DataError, match="image_size must be 1 to 8192"):
        prepare(str(folder), str(tmp_path / "out"), image_size=image_size)


def test_more_pictures_than_the_limit(folder: Path, tmp_path: Path):
    with pytest.raises(DataError, match="at most 29 pictures, got 30"):
        prepare(str(folder), str(tmp_path / "out"), limits=Limits(max_pictures=29))


def test_progress_is_told_for_every_picture(folder: Path, tmp_path: Path):
    told: list[tuple[int, int]] = []
    prepare(str(folder), str(tmp_path / "out"), on_progress=lambda *pair: told.append(pair))
    assert told == [(i, 30) for i in range(1, 31)]


def test_a_prepared_data_set_can_be_prepared_again(folder: Path, tmp_path: Path):
    first = prepare(str(folder), str(tmp_path / "one"))
    second = prepare(str(tmp_path / "one"), str(tmp_path / "two"), image_size=8)
    assert second.class_counts == first.class_counts
    assert ShardDataset(str(tmp_path / "two"), "test").keys == (
        ShardDataset(str(tmp_path / "one"), "test").keys
    )


def test_the_manifest_is_plain_json_with_the_promised_keys(folder: Path, tmp_path: Path):
    prepare(str(folder), str(tmp_path / "out"))
    values = json.loads((tmp_path / "out/manifest.json").read_text())
    assert values["version"] == 1
    assert values["schema"] == {
        "image": "binary", "label": "int32", "split": "string", "key": "string",
    }  # fmt: skip
    assert {"shards", "splits", "class_counts", "channel_mean", "digest", "broken"} <= values.keys()
