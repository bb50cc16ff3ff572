"""Files of a bucket for code that reads and writes paths: copies that are fetched or sent whole."""

import contextlib
import functools
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nitrogen.platform import storage
from nitrogen.platform.storage_local import local_errors
from nitrogen.platform.storage_uris import is_s3, join, local_path

# Of each process, the last ones that were asked for: a replica that lives through a hundred
# champions keeps no hundred bundles, and an evaluation reads four things at once at most.
KEPT = 4
_ARRIVING = "arriving-"


def local_copy(uri: str) -> Path:
    """A local path of a file or folder: a local one itself, else a copy to be read at once.

    Copies live as long as this process, the KEPT that were asked for last. Raises StorageError
    when nothing is there.
    """
    if not is_s3(uri):
        return local_path(uri)
    entries = storage.list_entries(uri)
    named = {entry.path: join(uri, entry.path) for entry in entries} or {"": uri}
    versions = [list(entry) for entry in entries] or [list(storage.entry_of(uri))]
    digest = storage.sha256_bytes(json.dumps([uri, versions]).encode())[:16]
    copies = Path(_copies().name)
    target = copies / digest / (uri.rstrip("/").rpartition("/")[2] or "files")
    if not target.exists():
        _fetch(named, target)
    os.utime(target.parent)  # asked for now
    _drop_all_but_newest(copies)
    return target


@contextlib.contextmanager
def workspace(uri: str) -> Iterator[Path]:
    """A local folder to write into: `uri` itself, or one whose files go to `uri` at the end."""
    if not is_s3(uri):
        path = local_path(uri)
        with local_errors("write", uri):
            path.mkdir(parents=True, exist_ok=True)
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="nitrogen-work-") as scratch:
        yield Path(scratch)
        for name in storage.list_files(scratch):
            storage.upload(Path(scratch) / name, join(uri, name))


def _fetch(named: dict[str, str], target: Path) -> None:
    """Whole or not at all: what a failed fetch left would pass for the folder next time."""
    with tempfile.TemporaryDirectory(prefix=_ARRIVING, dir=target.parents[1]) as scratch:
        arriving = Path(scratch) / target.name
        for name, source in named.items():
            storage.download(source, arriving / name if name else arriving)
        target.parent.mkdir(exist_ok=True)
        try:
            arriving.rename(target)
        except OSError:
            if not target.exists():  # else another thread was first
                raise


def _drop_all_but_newest(copies: Path) -> None:
    found = [path for path in copies.iterdir() if not path.name.startswith(_ARRIVING)]
    for path in sorted(found, key=_asked_for, reverse=True)[KEPT:]:
        shutil.rmtree(path, ignore_errors=True)


def _asked_for(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # another thread has dropped it
        return 0


@functools.lru_cache(maxsize=1)
def _copies() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="nitrogen-copies-")
