"""The file of a benchmark: refused before anything is measured, and who is cut off can go on."""

import errno
import os

import pytest

from nitrogen.pipelines.commands.bench_files import kept, resumable
from nitrogen.platform.errors import StorageError


def refused(out):
    said = "--out must be a file that can be written"
    with pytest.raises(StorageError, match=said) as raised, resumable(out):
        pytest.fail("nothing may be measured")
    return str(raised.value)


def test_what_is_no_file_is_refused_before_anything_is_measured(tmp_path):
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    assert "it is a folder" in refused(tmp_path)
    assert "it is no regular file" in refused(tmp_path / "pipe")
    assert "File exists" in refused(tmp_path / "file" / "a.json")


def test_a_new_folder_is_made(tmp_path):
    with resumable(tmp_path / "new" / "a.json") as rows:
        assert rows == tmp_path / "new" / "a.rows"
    assert (tmp_path / "new").is_dir()


def test_a_full_disk_is_told_and_another_error_is_not_taken_for_one(tmp_path):
    out = tmp_path / "a.json"
    with pytest.raises(StorageError, match=r"Free space .* goes on from what"), resumable(out):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(StorageError, match="Permission denied"), resumable(out) as rows:
        raise PermissionError(errno.EACCES, "Permission denied", str(rows / "k.json"))
    with pytest.raises(FileNotFoundError), resumable(out):
        raise FileNotFoundError(errno.ENOENT, "No such file", "/elsewhere")


def test_who_stops_it_is_told_that_it_goes_on_where_there_is_something(tmp_path, capsys):
    for rows in (False, True):
        if rows:
            kept(tmp_path / "a.json").mkdir()
        with pytest.raises(KeyboardInterrupt), resumable(tmp_path / "a.json"):
            raise KeyboardInterrupt
        assert ("the same command goes on from there" in capsys.readouterr().err) is rows
