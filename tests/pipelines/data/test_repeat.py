"""`nitrogen data prepare` twice: the same is told and kept, another one refused in a sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nitrogen.pipelines import cli


@pytest.fixture
def prepare(folder: Path, tmp_path: Path, capsys):
    """Prepares the folder into out/; returns (exit code, stdout, stderr)."""

    def call(*options: str) -> tuple[int, str, str]:
        code = cli.invoke(
            ["data", "prepare", str(folder), "--out", str(tmp_path / "out"), *options]
        )
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def files(out: Path) -> dict[str, tuple[int, bytes]]:
    return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in out.iterdir()}


def test_asking_again_is_done_and_changes_nothing(prepare, tmp_path):
    first = prepare("--json")
    before = files(tmp_path / "out")
    again = prepare("--json")
    assert (first[0], again[0]) == (0, 0)
    assert json.loads(again[1]) == json.loads(first[1])
    assert "already prepared from this source with these options" in again[2]
    assert "already prepared" not in first[2]
    assert files(tmp_path / "out") == before


def test_broken_pictures_and_files_without_class_are_part_of_the_source(prepare, folder):
    (folder / "ant/broken.png").write_bytes(b"x")
    Image.new("RGB", (16, 16)).save(folder / "loose.png")
    assert prepare()[0] == 0
    assert "already prepared" in prepare()[2]
    (folder / "loose.png").rename(folder / "other.png")
    assert "from other pictures" in prepare()[2]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--image-size", "8"), "with image-size none where 8 is asked for"),
        (("--name", "new"), "with name source where new is asked for"),
        (
            ("--image-size", "8", "--label-column", "x"),
            "image-size none where 8 is asked for and label-column none where x is asked for",
        ),
    ],
)
def test_other_options_are_refused_by_name(prepare, tmp_path, options, sentence):
    prepare()
    before = files(tmp_path / "out")
    code, out, err = prepare(*options)
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert sentence in err
    assert "Choose another --out, or pass --overwrite to replace it." in err
    assert files(tmp_path / "out") == before
    assert prepare(*options, "--overwrite")[0] == 0


def test_other_pictures_are_refused(prepare, folder):
    prepare()
    Image.new("RGB", (16, 16)).save(folder / "ant/00.png")
    code, _, err = prepare()
    assert code == 3
    assert "prepared from other pictures" in err
    assert prepare("--overwrite")[0] == 0
    assert "already prepared" in prepare()[2]


def test_a_moved_picture_is_another_one(prepare, folder):
    prepare()
    shutil.move(folder / "ant/00.png", folder / "bee/ant-00.png")
    assert "prepared from other pictures" in prepare()[2]


def test_a_cut_shard_is_not_a_data_set(prepare, tmp_path):
    prepare()
    shard = tmp_path / "out/train-00000.parquet"
    shard.write_bytes(shard.read_bytes()[:-1])
    code, _, err = prepare()
    assert code == 3
    assert "train-00000.parquet missing or cut. Pass --overwrite" in err
    assert prepare("--overwrite")[0] == 0


@pytest.mark.parametrize("content", ["not JSON", None])
def test_older_and_damaged_manifests_name_the_way_out(prepare, tmp_path, content):
    prepare()
    path = tmp_path / "out/manifest.json"
    if content is None:
        values = json.loads(path.read_text())
        del values["origin"]
        content = json.dumps(values)
    path.write_text(content)
    code, _, err = prepare()
    assert (code, err.count("\n")) == (3, 1)
    assert "pass --overwrite" in err
    assert prepare("--overwrite")[0] == 0


def test_what_a_killed_preparation_left_is_prepared_again(prepare, tmp_path):
    prepare()
    (tmp_path / "out/manifest.json").unlink()
    code, _, err = prepare()
    assert code == 0
    assert "already prepared" not in err
    assert "already prepared" in prepare()[2]


def test_a_source_of_arrays_is_known_again(write_idx, tmp_path, capsys):
    values = np.random.default_rng(0).integers(0, 256, (12, 8, 8), np.uint8)
    arguments = ["data", "prepare", str(write_idx(train=values)), "--out", str(tmp_path / "out")]
    assert cli.invoke(arguments) == 0
    assert cli.invoke(arguments) == 0
    assert "already prepared" in capsys.readouterr().err
    values[3, 0, 0] ^= 1
    write_idx(train=values)
    assert cli.invoke(arguments) == 3
