"""Files by URI on the local disk: atomic, listed once, and with one sentence for each failure."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nitrogen.platform import storage, storage_s3
from nitrogen.platform.errors import StorageError


def test_write_and_read_create_folders(tmp_path: Path):
    uri = str(tmp_path / "a/b/c.bin")
    storage.write_bytes(uri, b"one")
    storage.write_bytes(uri, b"two")
    assert storage.read_bytes(uri) == b"two"
    assert storage.list_files(str(tmp_path)) == ["a/b/c.bin"]
    assert (tmp_path / "a/b/c.bin").stat().st_mode & 0o777 == 0o644


def test_file_uris_and_paths_are_the_same(tmp_path: Path):
    storage.write_bytes(f"file://{tmp_path}/x", b"1")
    assert storage.read_bytes(str(tmp_path / "x")) == b"1"
    assert storage.exists(f"file://{tmp_path}/x")


def test_a_write_that_fails_leaves_the_old_content_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    uri = str(tmp_path / "x")
    storage.write_bytes(uri, b"old")

    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match=r"cannot write .*: No space left on device\. Check"):
        storage.write_bytes(uri, b"new")
    assert storage.read_bytes(uri) == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_a_reader_never_sees_half_a_file(tmp_path: Path):
    uri, sizes = str(tmp_path / "x"), set()
    storage.write_bytes(uri, b"")
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            sizes.add(len(storage.read_bytes(uri)))

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(30):
        storage.write_bytes(uri, b"x" * (i % 2) * 2_000_000)
    stop.set()
    reader.join()
    assert sizes <= {0, 2_000_000}


def test_what_a_link_points_to_is_written(tmp_path: Path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    storage.write_bytes(str(tmp_path / "link"), b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_one_of_two_creates_a_file(tmp_path: Path):
    uri = str(tmp_path / "new" / "lock")
    assert storage.create_bytes(uri, b"first")
    assert not storage.create_bytes(uri, b"second")
    assert storage.read_bytes(uri) == b"first"


def test_what_is_created_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch):
    """A lock that a reader finds empty is nobody's, and is taken."""
    uri, opened, seen = str(tmp_path / "lock"), os.fdopen, []

    def watched(*args: object, **kwargs: object) -> object:
        seen.append(storage.read_tagged(uri))
        return opened(*args, **kwargs)

    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdopen", watched)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fail)
        with pytest.raises(StorageError, match=r"cannot write .*: No space left on device\. Check"):
            storage.create_bytes(uri, b"first")
    assert os.listdir(tmp_path) == []
    assert storage.create_bytes(uri, b"first")
    assert seen == [None, None]
    assert not storage.create_bytes(uri, b"second")
    assert os.listdir(tmp_path) == ["lock"]
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o644


def test_writes_on_condition(tmp_path: Path):
    uri = str(tmp_path / "new" / "lock")
    assert storage.read_tagged(uri) is None
    assert storage.replace_bytes(uri, b"x", "none") is None
    assert not storage.delete_tagged(uri, "none")
    first = storage.create_bytes(uri, b"first")
    second = storage.replace_bytes(uri, b"second", first)
    assert storage.read_tagged(uri) == (b"second", second)
    assert storage.replace_bytes(uri, b"third", first) is None
    assert not storage.delete_tagged(uri, first)
    assert storage.read_bytes(uri) == b"second"
    assert storage.delete_tagged(uri, second)
    assert storage.list_files(str(tmp_path)) == []


def test_of_several_who_read_the_same_one_replaces_it(tmp_path: Path):
    uri = str(tmp_path / "lock")
    tag = storage.create_bytes(uri, b"old")
    with ThreadPoolExecutor(8) as pool:
        tags = list(pool.map(lambda i: storage.replace_bytes(uri, b"%d" % i, tag), range(8)))
    (winner,) = [i for i in range(8) if tags[i] is not None]
    assert storage.read_tagged(uri) == (b"%d" % winner, tags[winner])


def test_exists_and_delete(tmp_path: Path):
    uri = str(tmp_path / "x")
    assert not storage.exists(uri)
    storage.write_bytes(uri, b"")
    assert storage.exists(uri)
    assert storage.exists(str(tmp_path))
    storage.delete(uri)
    storage.delete(uri)
    assert not storage.exists(uri)


@pytest.mark.timeout(20)
def test_listing_follows_links_once_and_skips_what_is_no_file(tmp_path: Path):
    storage.write_bytes(str(tmp_path / "real/x"), b"123")
    for name in ("loop", "hoop"):  # two: walking both for ever would take 2^40 steps
        (tmp_path / "real" / name).symlink_to(tmp_path)
    (tmp_path / "dead").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    entries = storage.list_entries(str(tmp_path))
    assert [(e.path, e.num_bytes) for e in entries] == [
        ("dead", len(str(tmp_path / "nowhere"))),
        ("real/x", 3),
    ]
    assert storage.list_files(str(tmp_path / "absent")) == []


def test_the_version_of_an_entry_follows_its_content(tmp_path: Path):
    path = tmp_path / "x"
    path.write_bytes(b"a")
    first = storage.entry_of(str(path))
    os.utime(path, ns=(1, 1))
    assert storage.entry_of(str(path)) != first


def test_input_at_any_position(tmp_path: Path):
    storage.write_bytes(str(tmp_path / "x"), b"0123456789")
    with storage.open_input(str(tmp_path / "x")) as file:
        file.seek(7)
        assert file.read(2) == b"78"


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        (("s3://b/k/", "x"), "s3://b/k/x"),
        (("s3://b", "a/", "/x"), "s3://b/a/x"),
        (("/", "x"), "/x"),
        (("/a", "x", "y"), "/a/x/y"),
        (("a/b/",), "a/b"),
        (("/",), "/"),
    ],
)
def test_join(parts: tuple[str, ...], joined: str):
    assert storage.join(*parts) == joined


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda p: storage.read_bytes(f"{p}/absent"), "cannot read .*absent: No such file"),
        (lambda p: storage.open_input(f"{p}/absent"), "cannot read .*absent"),
        (lambda p: storage.sha256_file(f"{p}/absent"), "cannot read .*absent"),
        (lambda p: storage.entry_of(f"{p}/absent"), "cannot read .*absent"),
        (lambda p: storage.read_bytes(str(p)), "cannot read .*: Is a directory"),
        (lambda p: storage.write_bytes(f"{p}/file/x", b""), "cannot write .*file/x: (Not|File)"),
        (lambda p: storage.read_bytes("gs://b/k"), "uri must be a local path or s3://"),
        (lambda p: storage.read_bytes("s3:///k"), "uri must be s3://bucket/key"),
        (lambda p: storage.filesystem("http://x/y"), "uri must be a local path or s3://"),
    ],
)
def test_failures_are_one_sentence(tmp_path: Path, call, sentence: str):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=sentence) as caught:
        call(tmp_path)
    assert "\n" not in str(caught.value)


def test_sha256(tmp_path: Path):
    storage.write_bytes(str(tmp_path / "x"), b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert storage.sha256_bytes(b"abc") == storage.sha256_file(tmp_path / "x") == expected


@pytest.mark.parametrize("key", ["run/../../escaped", "run//etc/escaped"])
def test_a_key_that_leaves_the_folder_is_refused(monkeypatch: pytest.MonkeyPatch, key: str):
    class Client:
        def get_paginator(self, _: str) -> "Client":
            return self

        def paginate(self, **_: str) -> list[dict[str, list[dict[str, object]]]]:
            return [{"Contents": [{"Key": key, "Size": 1, "ETag": "e"}]}]

    monkeypatch.setattr(storage_s3, "client", Client)
    with pytest.raises(StorageError, match="keys must be relative paths"):
        storage.list_entries("s3://bucket/run")
