"""A preparation that was cut off goes on, and gives what an undisturbed one gives."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nitrogen.pipelines.data import kept_pictures
from nitrogen.pipelines.data.convert import Outcome, convert
from nitrogen.pipelines.data.kept_pictures import KeptPictures
from nitrogen.pipelines.data.prepare import prepare
from nitrogen.pipelines.data.source import Picture
from nitrogen.platform.errors import DataError

# Kills itself while it converts picture 20 of 30; each of the 19 before is in a file.
CUT_OFF = """
import os, signal, sys
from nitrogen.pipelines.data import kept_pictures, prepare
kept_pictures.INTERVAL_S = 0
convert, count = prepare.convert, 0
def counted(*args):
    global count
    count += 1
    if count == 20:
        os.kill(os.getpid(), signal.SIGKILL)
    return convert(*args)
prepare.convert = counted
prepare.prepare(sys.argv[1], sys.argv[2])
"""


def files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.fixture
def cut_off(folder: Path, tmp_path: Path, killed: tuple[Path, Path]) -> Path:
    """The target of a preparation of `folder` that was killed, and the folder as it then was."""
    shutil.rmtree(folder)
    shutil.copytree(killed[0], folder)
    return Path(shutil.copytree(killed[1], tmp_path / "out"))


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A source of 30 pictures, one of them broken, and what was left of its preparation."""
    root = tmp_path_factory.mktemp("killed")
    source, out = root / "source", root / "out"
    for label, (name, count) in enumerate({"ant": 12, "bee": 10, "cow": 8}.items()):
        (source / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.random.default_rng(100 * label + i).integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(source / name / f"{i:02d}.png")
    (source / "ant" / "05.png").write_bytes(b"no picture")
    done = subprocess.run([sys.executable, "-c", CUT_OFF, str(source), str(out)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(out.glob(".kept-*.part"))) == 19
    return source, out


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the pictures that are converted from here on."""
    keys: list[str] = []

    def counted(picture, *rest):
        keys.append(picture.key)
        return convert(picture, *rest)

    monkeypatch.setattr("nitrogen.pipelines.data.prepare.convert", counted)
    return keys


def interrupt_after(count: int, converted: list[str], patch: pytest.MonkeyPatch) -> None:
    """Ctrl-C once that many pictures were converted."""

    def interrupted(picture, *rest):
        if len(converted) == count:
            raise KeyboardInterrupt
        converted.append(picture.key)
        return convert(picture, *rest)

    patch.setattr("nitrogen.pipelines.data.prepare.convert", interrupted)


def test_it_goes_on_after_kill_9_and_gives_the_same_bytes(folder, cut_off, tmp_path, converted):
    told: list[str] = []
    prepare(str(folder), str(cut_off), on_message=told.append)
    assert len(converted) == 11
    assert told == ["19 pictures were converted before the cut-off"]
    prepare(str(folder), str(tmp_path / "whole"), name="source")
    assert len(converted) == 41
    assert files(cut_off) == files(tmp_path / "whole")


def test_other_options_take_nothing_over(folder, cut_off, converted):
    manifest = prepare(str(folder), str(cut_off), image_size=8)
    assert len(converted) == 30
    assert manifest.image_size == (8, 8)
    assert not list(cut_off.glob(".kept-*"))


def test_a_source_that_changed_takes_nothing_over(folder, cut_off, converted):
    (folder / "ant" / "00.png").write_bytes((folder / "cow" / "01.png").read_bytes())
    prepare(str(folder), str(cut_off))
    assert len(converted) == 30


def test_from_a_damaged_file_on_pictures_are_converted_again(folder, cut_off, converted):
    damaged = cut_off / ".kept-000007.part"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    prepare(str(folder), str(cut_off))
    assert len(converted) == 23


def test_a_cut_off_after_a_cut_off_costs_no_more(folder, cut_off, converted, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(kept_pictures, "INTERVAL_S", 0)
        interrupt_after(4, converted, patch)
        with pytest.raises(KeyboardInterrupt):
            prepare(str(folder), str(cut_off))
    assert len(list(cut_off.glob(".kept-*.part"))) == 23
    prepare(str(folder), str(cut_off))
    assert len(converted) == 4 + 7


def test_ctrl_c_keeps_all_that_was_converted(folder, tmp_path, converted, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        interrupt_after(7, converted, patch)
        with pytest.raises(KeyboardInterrupt):
            prepare(str(folder), str(out))
    assert [path.name for path in out.iterdir()] == [".kept-000000.part"]
    prepare(str(folder), str(out))
    assert len(converted) == 30


def test_a_source_in_another_order_is_converted_anew_and_nothing_wrong_is_kept(folder, cut_off):
    identity = kept_pictures.pq.read_schema(cut_off / ".kept-000000.part").metadata
    kept = KeptPictures(str(cut_off), identity[kept_pictures.IDENTITY].decode())
    assert kept.take(Picture("3", 0, None, lambda: b"")) is None
    assert not list(cut_off.glob(".kept-*"))
    kept.add(Outcome("3", 0, None, "x"))
    kept.write()
    assert not list(cut_off.glob(".kept-*"))


def test_a_source_that_cannot_be_used_leaves_nothing(folder, cut_off):
    for path in folder.rglob("*.png"):
        path.write_bytes(b"no picture")
    with pytest.raises(DataError, match="pictures that can be read"):
        prepare(str(folder), str(cut_off))
    assert not cut_off.exists()
