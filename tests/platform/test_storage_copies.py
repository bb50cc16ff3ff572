"""Copies of what lies in a bucket: whole, and not more of them than are needed."""

from pathlib import Path

import pytest

from nitrogen.platform import storage, storage_copies
from nitrogen.platform.errors import StorageError


def test_a_fetch_that_failed_leaves_no_half_copy(monkeypatch: pytest.MonkeyPatch):
    entries = [storage.FileEntry(name, 1, "v1") for name in ("a", "b")]
    broken = [True]

    def download(uri: str, path: Path) -> None:
        if broken and uri.endswith("/b"):
            broken.clear()
            raise StorageError("cannot read it: x. Check y.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(uri)

    monkeypatch.setattr(storage, "list_entries", lambda _: entries)
    monkeypatch.setattr(storage, "download", download)
    with pytest.raises(StorageError):
        storage_copies.local_copy("s3://bucket/half-copy")
    found = storage_copies.local_copy("s3://bucket/half-copy")
    assert sorted(path.name for path in found.iterdir()) == ["a", "b"]
    assert storage_copies.local_copy("s3://bucket/half-copy") == found


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A bucket that holds one file under every URI; the list of what was fetched from it."""
    fetched: list[str] = []

    def download(uri: str, path: Path) -> None:
        fetched.append(uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(uri)

    scratch = storage_copies.tempfile.TemporaryDirectory(dir=tmp_path)
    monkeypatch.setattr(storage_copies, "_copies", lambda: scratch)
    monkeypatch.setattr(storage, "list_entries", lambda _: [storage.FileEntry("a", 1, "v1")])
    monkeypatch.setattr(storage, "download", download)
    return fetched


def test_a_process_that_sees_many_champions_keeps_the_newest(bucket: list[str]):
    first = storage_copies.local_copy("s3://bucket/bundle-0")
    for version in range(1, 10):
        newest = storage_copies.local_copy(f"s3://bucket/bundle-{version}")
        assert storage_copies.local_copy("s3://bucket/bundle-0") == first, "in use: kept"
    copies = first.parents[1]
    assert len(list(copies.iterdir())) == storage_copies.KEPT
    assert (newest / "a").read_text() == "s3://bucket/bundle-9/a"
    assert len(bucket) == 10, "each was fetched once"
    storage_copies.local_copy("s3://bucket/bundle-1")
    assert bucket[-1] == "s3://bucket/bundle-1/a", "fetched again when it is asked for again"
