"""The loader: verified shards, in memory and mapped, and batches that survive a restart."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nitrogen.pipelines.data.describe import classes_table, describe
from nitrogen.pipelines.data.loader import ShardDataset
from nitrogen.pipelines.data.manifest import content_digest, load_manifest
from nitrogen.pipelines.data.prepare import prepare
from nitrogen.pipelines.data.shards import SHARD_SCHEMA
from nitrogen.platform.errors import DataError
from nitrogen.platform.storage import sha256_file


@pytest.fixture
def prepared(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four shards of the train split, one of each other."""
    monkeypatch.setattr("nitrogen.pipelines.data.shards.MAX_SHARD_DECODED_BYTES", 7 * 16 * 16 * 3)
    prepare(str(folder), str(tmp_path / "data"))
    return tmp_path / "data"


def test_arrays_are_what_the_contract_says(prepared: Path):
    data = ShardDataset(str(prepared), "train")
    assert data.images.shape == (24, 16, 16, 3)
    assert (data.images.dtype, data.labels.dtype) == (np.uint8, np.int64)
    assert len(data) == len(data.labels) == len(data.keys) == 24
    assert (data.classes, data.image_size) == (("ant", "bee", "cow"), (16, 16))


def test_a_resumed_run_sees_the_same_batches(prepared: Path):
    whole = ShardDataset(str(prepared), "train")
    resumed = ShardDataset(str(prepared), "train")
    expected = [whole.batch(7, step, 10) for step in range(6)]
    for step in (5, 3, 4):
        images, labels = resumed.batch(7, step, 10)
        assert np.array_equal(images, expected[step][0])
        assert np.array_equal(labels, expected[step][1])


def test_ranks_part_the_batch(prepared: Path):
    data = ShardDataset(str(prepared), "train")
    whole, _ = data.batch(1, 2, 8)
    for rank in range(2):
        assert np.array_equal(data.batch(1, 2, 8, rank=rank, world_size=2)[0], whole[rank::2])


def test_a_large_data_set_is_mapped_from_a_file(prepared: Path, tmp_path: Path):
    plain = ShardDataset(str(prepared), "train")
    mapped = ShardDataset(str(prepared), "train", tmp_path / "cache", max_in_memory_bytes=100)
    assert isinstance(mapped.images, np.memmap)
    assert np.array_equal(mapped.images, plain.images)
    assert np.array_equal(mapped.labels, plain.labels)
    assert mapped.keys == plain.keys
    assert np.array_equal(mapped.batch(0, 1, 5)[0], plain.batch(0, 1, 5)[0])


def test_the_mapped_file_is_made_once(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    options = {"cache_dir": tmp_path / "cache", "max_in_memory_bytes": 100}
    ShardDataset(str(prepared), "train", **options)

    def fail(*args: object) -> None:
        raise AssertionError("decoded twice")

    monkeypatch.setattr("nitrogen.pipelines.data.shard_reader.ShardReader.read", fail)
    assert len(ShardDataset(str(prepared), "train", **options).keys) == 24


def test_writing_to_a_mapped_picture_does_not_reach_the_file(prepared: Path, tmp_path: Path):
    options = {"cache_dir": tmp_path / "cache", "max_in_memory_bytes": 100}
    first = ShardDataset(str(prepared), "train", **options)
    before = first.images[0].copy()
    first.images[0] = 255 - before
    assert np.array_equal(ShardDataset(str(prepared), "train", **options).images[0], before)


def test_a_mapped_file_of_another_length_is_made_anew(prepared: Path, tmp_path: Path):
    options = {"cache_dir": tmp_path / "cache", "max_in_memory_bytes": 100}
    ShardDataset(str(prepared), "train", **options)
    (pixels,) = (tmp_path / "cache").glob("*.u8")
    pixels.write_bytes(b"cut")
    assert ShardDataset(str(prepared), "train", **options).images.shape == (24, 16, 16, 3)


def test_the_default_cache_is_the_users_own(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    ShardDataset(str(prepared), "train", max_in_memory_bytes=100)
    assert len(list((tmp_path / "home/nitrogen/data").iterdir())) == 2


def test_a_cut_off_decoding_leaves_no_file_behind(prepared: Path, tmp_path: Path):
    (prepared / "train-00002.parquet").write_bytes(b"x")
    with pytest.raises(DataError, match="train-00002"):
        ShardDataset(str(prepared), "train", tmp_path / "cache", max_in_memory_bytes=100)
    assert list((tmp_path / "cache").iterdir()) == []


def test_shard_by_shard(prepared: Path):
    data = ShardDataset(str(prepared), "train")
    shards = list(data.iter_shards())
    assert [len(shard.labels) for shard in shards] == [7, 7, 7, 3]
    assert np.array_equal(np.concatenate([shard.images for shard in shards]), data.images)


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "a sha256 other than"),
        (lambda path: path.write_bytes(b""), "a sha256 other than"),
        (lambda path: path.unlink(), "no such file"),
        (lambda path: _flip(path), "a sha256 other than"),
    ],
)
def test_an_altered_shard_is_named_with_a_remedy(prepared: Path, damage, found: str):
    damage(prepared / "train-00001.parquet")
    with pytest.raises(DataError, match=rf"{found}.*train-00001\.parquet.*Prepare the data set"):
        ShardDataset(str(prepared), "train")
    assert len(ShardDataset(str(prepared), "test")) == 3


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("column", "value", "found"),
    [
        ("label", 3, "labels that the manifest has no class for"),
        ("label", -1, "labels that the manifest has no class for"),
        ("label", None, "rows that differ"),
        ("image", b"no picture", "a picture that does not decode"),
        ("image", None, "rows that differ"),
    ],
)
def test_a_shard_that_was_forged_with_its_manifest(prepared: Path, column, value, found: str):
    file = prepared / "test-00000.parquet"
    rows = pq.read_table(file).to_pylist()
    rows[1][column] = value
    pq.write_table(pa.Table.from_pylist(rows, schema=SHARD_SCHEMA), file)
    _resign(prepared, "test-00000.parquet")
    with pytest.raises(DataError, match=found):
        ShardDataset(str(prepared), "test")


def test_a_picture_of_another_size_is_refused(prepared: Path):
    values = json.loads((prepared / "manifest.json").read_text())
    values["image_size"] = [8, 8]
    _write(prepared, values)
    with pytest.raises(DataError, match="a picture of 16x16"):
        ShardDataset(str(prepared), "test")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"version": 2}, "manifest version must be 1, got 2"),
        ({"classes": ["one"]}, "num_classes must equal"),
        ({"splits": {"train": 1}}, r"splits\.train must equal"),
        ({"digest": "0"}, "digest must match"),
        ({"shards": [{"file": "../../etc/passwd"}]}, "file must look like train-00000"),
        ({"name": None}, "name"),
    ],
)
def test_a_manifest_that_is_wrong(prepared: Path, change: dict, sentence: str):
    values = json.loads((prepared / "manifest.json").read_text()) | change
    (prepared / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(DataError, match=sentence):
        load_manifest(str(prepared))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\xff\xfe"])
def test_a_manifest_that_is_no_json_object(prepared: Path, text: str):
    (prepared / "manifest.json").write_bytes(text.encode("latin1"))
    with pytest.raises(DataError, match=r"manifest must be valid"):
        load_manifest(str(prepared))


def test_a_split_that_is_not_there(prepared: Path):
    with pytest.raises(DataError, match=r"\(train, validation, test\), got training"):
        ShardDataset(str(prepared), "training")


def test_no_data_set(tmp_path: Path):
    with pytest.raises(DataError, match="nitrogen data prepare"):
        ShardDataset(str(tmp_path), "train")


def test_the_tables_for_people(prepared: Path):
    assert classes_table(str(prepared))[2] == {
        "label": 2,
        "name": "cow",
        "train": 6,
        "validation": 1,
        "test": 1,
        "total": 8,
    }
    facts = describe(str(prepared))
    assert json.loads(json.dumps(facts)) == facts
    assert facts["num_shards"] == 6


def _resign(folder: Path, file: str) -> None:
    values = json.loads((folder / "manifest.json").read_text())
    for shard in values["shards"]:
        if shard["file"] == file:
            shard["sha256"] = sha256_file(folder / file)
    _write(folder, values)


def _write(folder: Path, values: dict) -> None:
    from nitrogen.pipelines.data.manifest import ShardEntry

    shards = [ShardEntry(**shard) for shard in values["shards"]]
    values["digest"] = content_digest(shards, values["classes"], values["image_size"])
    (folder / "manifest.json").write_text(json.dumps(values))
