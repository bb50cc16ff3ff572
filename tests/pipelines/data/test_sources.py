"""The readers: folders, Parquet and IDX, well-formed and not."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from nitrogen.pipelines.data.images import BrokenPictureError
from nitrogen.pipelines.data.limits import Limits
from nitrogen.pipelines.data.loader import ShardDataset
from nitrogen.pipelines.data.prepare import prepare
from nitrogen.pipelines.data.readers import open_source
from nitrogen.pipelines.data.source import split_in_name
from nitrogen.platform.errors import DataError

LIMITS = Limits()


def pngs(count: int) -> list[bytes]:
    from nitrogen.pipelines.data.images import encode_png

    return [encode_png(np.full((8, 8, 3), i, np.uint8)) for i in range(count)]


# ---------------------------------------------------------------- folders


def test_all_suffixes_deeper_folders_and_what_is_no_picture(folder: Path):
    image = Image.new("RGB", (16, 16))
    for name in ("x.jpg", "x.JPEG", "x.webp", "x.bmp", "x.gif", "deep/er/x.png"):
        path = folder / "ant" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    (folder / "ant/.DS_Store").write_text("hidden")
    (folder / "ant/notes.txt").write_text("not a picture")
    source = open_source(str(folder), LIMITS)
    assert source.num_pictures == 36
    assert [p.label for p in source.pictures() if p.key == "ant/deep/er/x.png"] == [0]
    assert source.notes == ("Files that are no pictures, ignored: .txt (1).",)


def test_split_folders_above_the_class_folders(tmp_path: Path):
    for split, count in (("train", 20), ("val", 2), ("test", 3)):
        for name in ("a", "b"):
            (tmp_path / "s" / split / name).mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (8, 8)).save(tmp_path / "s" / split / name / f"{i}.png")
    manifest = prepare(str(tmp_path / "s"), str(tmp_path / "out"))
    assert manifest.classes == ("a", "b")
    assert manifest.splits == {"train": 40, "validation": 4, "test": 6}


def test_classes_that_are_called_train_and_test_are_classes(tmp_path: Path):
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "1.png")
    source = open_source(str(tmp_path), LIMITS)
    assert source.classes == ("test", "train")
    assert source.splits == frozenset()


def test_a_folder_without_class_folders_is_one_class(tmp_path: Path):
    for i in range(5):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.png")
    source = open_source(str(tmp_path), LIMITS)
    assert source.classes == (tmp_path.name,)
    assert "one class" in source.notes[0]
    assert {p.label for p in source.pictures()} == {0}


def test_pictures_beside_the_class_folders_are_skipped_not_lost(folder: Path, tmp_path: Path):
    Image.new("RGB", (16, 16)).save(folder / "stray.png")
    manifest = prepare(str(folder), str(tmp_path / "out"))
    assert [(b.key, b.reason) for b in manifest.broken] == [("stray.png", "has no class")]
    assert manifest.classes == ("ant", "bee", "cow")


def test_links_that_lead_in_a_circle_and_nowhere(folder: Path):
    (folder / "ant/up").symlink_to(folder, target_is_directory=True)
    (folder / "ant/dead.png").symlink_to(folder / "nowhere.png")
    source = open_source(str(folder), LIMITS)
    assert source.num_pictures == 31
    dead = next(p for p in source.pictures() if p.key == "ant/dead.png")
    with pytest.raises(BrokenPictureError, match="cannot be read"):
        dead.load()


def test_a_class_folder_may_be_a_link(folder: Path, tmp_path: Path):
    (tmp_path / "linked").mkdir()
    for name in ("ant", "bee"):
        (tmp_path / "linked" / name).symlink_to(folder / name, target_is_directory=True)
    source = open_source(str(tmp_path / "linked"), LIMITS)
    assert (source.classes, source.num_pictures) == (("ant", "bee"), 22)


def test_names_that_are_not_utf8(tmp_path: Path):
    root = os.fsencode(tmp_path / "s")
    os.makedirs(root + b"/caf\xe9")
    for i in range(4):
        Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
        os.rename(tmp_path / "x.png", root + b"/caf\xe9/\xff%d.png" % i)
    manifest = prepare(str(tmp_path / "s"), str(tmp_path / "out"))
    assert manifest.classes == ("caf\\xe9",)
    assert "caf\\xe9/\\xff" in ShardDataset(str(tmp_path / "out"), "train").keys[0]


def test_a_file_over_the_limit_is_not_even_read(folder: Path, monkeypatch: pytest.MonkeyPatch):
    with open(folder / "ant/huge.png", "wb") as file:
        file.truncate(10**12)  # sparse
    huge = next(p for p in open_source(str(folder), LIMITS).pictures() if "huge" in p.key)
    with pytest.raises(BrokenPictureError, match="more than"):
        huge.load()


def test_a_picture_that_may_not_be_read_is_listed(folder: Path, tmp_path: Path):
    source = open_source(str(folder), LIMITS)
    (folder / "ant/00.png").unlink()
    first = next(source.pictures())
    with pytest.raises(BrokenPictureError, match="cannot be read"):
        first.load()


def test_a_named_pipe_is_ignored(folder: Path):
    os.mkfifo(folder / "ant/pipe.png")
    assert open_source(str(folder), LIMITS).num_pictures == 30


# ---------------------------------------------------------------- what is no source


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda root: root / "absent", "source must exist"),
        (lambda root: root, "got nothing in"),
        (lambda root: (root / "a.txt").write_text("x") and root, "got 1 other files in"),
        (lambda root: _file(root / "a.zip"), "got the file .*a.zip. Unpack it"),
        (lambda root: _file(root / "a.parquet"), "must be sound Parquet"),
        (lambda root: "bundled:faces", "Use bundled:emoji or bundled:scenes"),
        (lambda root: "gs://bucket/x", "must be a local path or s3://"),
    ],
)
def test_no_source(tmp_path: Path, make: Callable, sentence: str):
    from nitrogen.platform.errors import NitrogenError

    with pytest.raises(NitrogenError, match=sentence):
        open_source(str(make(tmp_path)), LIMITS)


def _file(path: Path) -> Path:
    path.write_bytes(b"PK")
    return path


def test_two_kinds_in_one_folder(folder: Path, write_parquet: Callable):
    path = write_parquet({"image": pa.array(pngs(3), pa.binary())})
    path.rename(folder / "a.parquet")
    with pytest.raises(DataError, match="got Parquet and pictures"):
        open_source(str(folder), LIMITS)


# ---------------------------------------------------------------- Parquet


def test_parquet_of_bytes_and_text_labels(write_parquet: Callable, tmp_path: Path):
    labels = ["dog", "cat", "dog"] * 10
    path = write_parquet({"image": pa.array(pngs(30), pa.binary()), "label": pa.array(labels)})
    manifest = prepare(str(path), str(tmp_path / "out"))
    assert manifest.classes == ("cat", "dog")
    train = ShardDataset(str(tmp_path / "out"), "train")
    for image, label, key in zip(train.images, train.labels, train.keys, strict=True):
        row = int(key.split("#")[1])
        assert image[0, 0, 0] == row
        assert manifest.classes[label] == labels[row]


def test_parquet_as_hugging_face_writes_it(write_parquet: Callable, tmp_path: Path):
    images = pa.array([{"bytes": data, "path": None} for data in pngs(6)])
    features = {"info": {"features": {"label": {"names": ["zero", "one", "two"]}}}}
    for file, labels in (("train-00000-of-00001.parquet", [0, 1, 1, 0, 1, 1]),):
        write_parquet({"image": images, "label": pa.array(labels)}, file, json.dumps(features))
    write_parquet(
        {"image": images.slice(0, 2), "label": pa.array([1, 0])},
        "test-00000-of-00001.parquet",
        json.dumps(features),
    )
    manifest = prepare(str(tmp_path / "parquet"), str(tmp_path / "out"))
    assert manifest.classes == ("zero", "one", "two")
    assert manifest.splits["test"] == 2
    assert manifest.class_counts["two"] == {"train": 0, "validation": 0, "test": 0}
    assert any("Classes without a training picture: two" in note for note in manifest.notes)


def test_integer_labels_are_ordered_as_numbers(write_parquet: Callable):
    path = write_parquet(
        {"image": pa.array(pngs(4), pa.binary()), "label": pa.array([10, 9, 2, 10])}
    )
    source = open_source(str(path), LIMITS)
    assert source.classes == ("2", "9", "10")
    assert [p.label for p in source.pictures()] == [2, 1, 0, 2]


def test_rows_without_label_or_picture_are_listed(write_parquet: Callable, tmp_path: Path):
    images = pa.array([*pngs(8), None, b""], pa.binary())
    labels = pa.array([0, 1, 0, 1, 0, 1, -1, None, 0, 1])
    path = write_parquet({"image": images, "label": labels})
    manifest = prepare(str(path), str(tmp_path / "out"))
    assert [entry.reason for entry in manifest.broken] == [
        "has no class",
        "has no class",
        "no picture in the row",
        "empty file",
    ]


def test_a_split_column(write_parquet: Callable, tmp_path: Path):
    path = write_parquet(
        {
            "image": pa.array(pngs(6), pa.binary()),
            "label": pa.array([0] * 6),
            "split": pa.array(["train", "train", "train", "val", "test", "test"]),
        }
    )
    assert prepare(str(path), str(tmp_path / "out")).splits == {
        "train": 3,
        "validation": 1,
        "test": 2,
    }


def test_columns_can_be_named(write_parquet: Callable):
    path = write_parquet({"thumb": pa.array(pngs(3), pa.binary()), "kind": pa.array(["a"] * 3)})
    source = open_source(str(path), LIMITS, image_column="thumb", label_column="kind")
    assert source.classes == ("a",)
    assert open_source(str(path), LIMITS).classes == ("all",)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"image_column": "kind"}, "image_column must be a binary column, got kind"),
        ({"label_column": "sort"}, "label_column must be a column of .* got sort"),
        ({"label_column": "weight"}, "must hold integers or text, got double"),
    ],
)
def test_columns_that_are_none(write_parquet: Callable, options: dict, sentence: str):
    path = write_parquet(
        {
            "image": pa.array(pngs(2), pa.binary()),
            "kind": pa.array(["a", "b"]),
            "weight": pa.array([0.5, 1.5]),
        }
    )
    with pytest.raises(DataError, match=sentence):
        open_source(str(path), LIMITS, **options)


def test_no_image_column(write_parquet: Callable):
    path = write_parquet({"text": pa.array(["a"])})
    with pytest.raises(DataError, match="must have an image column of bytes, got text"):
        open_source(str(path), LIMITS)


def test_a_label_column_that_is_an_id(write_parquet: Callable):
    path = write_parquet(
        {"image": pa.array(pngs(5), pa.binary()), "label": pa.array(list("abcde"))}
    )
    with pytest.raises(DataError, match="at most 4 values, got more in label"):
        open_source(str(path), Limits(max_classes=4))


def test_a_cut_parquet_file(write_parquet: Callable):
    path = write_parquet({"image": pa.array(pngs(5), pa.binary())})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="must be sound Parquet"):
        open_source(str(path), LIMITS)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00002.parquet", "train"),
        ("val.parquet", "validation"),
        ("test/0.parquet", "test"),
        ("trains.parquet", None),
        ("0000.parquet", None),
        ("", None),
    ],
)
def test_split_in_name(name: str, split: str | None):
    assert split_in_name(name) == split


# ---------------------------------------------------------------- IDX


@pytest.mark.parametrize("compress", [False, True])
def test_idx_with_a_test_part(write_idx: Callable, tmp_path: Path, compress: bool):
    values = np.random.default_rng(0).integers(0, 256, (60, 28, 28), np.uint8)
    root = write_idx(compress, train=values, t10k=values[:12])
    manifest = prepare(str(root), str(tmp_path / "out"), image_size=28)
    assert manifest.classes == ("0", "1", "2")
    assert manifest.splits == {"train": 57, "validation": 3, "test": 12}
    assert any("Grey, repeated to three channels: 72 pictures." in note for note in manifest.notes)
    test = ShardDataset(str(tmp_path / "out"), "test")
    assert np.array_equal(test.images[..., 1], values[:12])
    assert test.labels.tolist() == [i % 3 for i in range(12)]


def test_idx_can_be_named_by_its_file(write_idx: Callable):
    values = np.zeros((5, 4, 4), np.uint8)
    root = write_idx(train=values, t10k=values[:2])
    source = open_source(str(root / "train-images-idx3-ubyte"), LIMITS)
    assert (source.num_pictures, source.splits) == (5, {"train"})


def test_idx_of_colour_pictures_and_named_classes(write_idx: Callable):
    values = np.random.default_rng(0).integers(0, 256, (4, 5, 5, 3), np.uint8)
    root = write_idx(train=values)
    (root / "classes.txt").write_text("shirt\nshoe\nbag\nhat\n")
    source = open_source(str(root), LIMITS)
    assert source.classes == ("shirt", "shoe", "bag", "hat")
    assert np.array_equal(np.stack([p.load() for p in source.pictures()]), values)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda r: (r / "train-labels-idx1-ubyte").unlink(), "must have a label file beside"),
        (lambda r: _cut(r / "train-images-idx3-ubyte", 90), "a file that ends too early"),
        (lambda r: _cut(r / "train-images-idx3-ubyte", 3), "a file that ends too early"),
        (lambda r: _cut(r / "train-labels-idx1-ubyte", 9), "a file that ends too early"),
        (lambda r: (r / "train-images-idx3-ubyte").write_bytes(b"\x1f\x8bxxxxx" * 9), "header"),
        (lambda r: _swap(r, 2, 13), "another header"),  # 13: float
        (lambda r: _swap(r, 7, 99), "as many labels as pictures"),
        (lambda r: _swap(r, 8, 255), "pictures of"),  # 4 thousand million rows
        (lambda r: (r / "classes.txt").write_text("one"), "must name 3 classes, got 1"),
    ],
)
def test_idx_that_is_damaged(write_idx: Callable, damage: Callable, sentence: str):
    root = write_idx(train=np.zeros((5, 4, 4), np.uint8))
    damage(root)
    with pytest.raises(DataError, match=sentence):
        [p.load() for p in open_source(str(root), LIMITS).pictures()]


def test_a_cut_gzip_stream(write_idx: Callable):
    root = write_idx(True, train=np.random.default_rng(0).integers(0, 256, (50, 9, 9), np.uint8))
    _cut(root / "train-images-idx3-ubyte.gz", 500)
    with pytest.raises(DataError, match="damaged gzip stream"):
        list(open_source(str(root), LIMITS).pictures())


def test_a_label_file_that_claims_millions(write_idx: Callable):
    root = write_idx(train=np.zeros((5, 4, 4), np.uint8))
    with pytest.raises(DataError, match="at most 4 pictures, got 5"):
        open_source(str(root), Limits(max_pictures=4))


def _cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def _swap(root: Path, place: int, value: int) -> None:
    path = root / "train-images-idx3-ubyte"
    data = bytearray(path.read_bytes())
    data[place] = value
    path.write_bytes(bytes(data))
