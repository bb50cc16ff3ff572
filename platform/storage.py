"""Files by URI: a local path, or `s3://bucket/key` on any S3 server.

Every failure is a StorageError of one sentence, and comes in bounded time. Writes are atomic: a
reader sees the old content or the new one, never half of it.
"""

import contextlib
import hashlib
import re
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from nitrogen.platform import storage_local, storage_s3
from nitrogen.platform.errors import StorageError
from nitrogen.platform.storage_uris import FileEntry, is_s3, join, local_path

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.fs

__all__ = [
    "FileEntry",
    "create_bytes",
    "delete",
    "delete_tagged",
    "download",
    "entry_of",
    "exists",
    "filesystem",
    "is_s3",
    "join",
    "list_entries",
    "list_files",
    "open_input",
    "read_bytes",
    "read_tagged",
    "remove_empty_folder",
    "replace_bytes",
    "sha256_bytes",
    "sha256_file",
    "upload",
    "write_bytes",
]


class _Store(Protocol):
    """What storage_local and storage_s3 both offer; their functions are described below."""

    def filesystem(self, uri: str) -> "tuple[pyarrow.fs.FileSystem, str]": ...
    def read_bytes(self, uri: str) -> bytes: ...
    def write_bytes(self, uri: str, data: bytes) -> None: ...
    def create_bytes(self, uri: str, data: bytes) -> str | None: ...
    def read_tagged(self, uri: str) -> tuple[bytes, str] | None: ...
    def replace_bytes(self, uri: str, data: bytes, tag: str) -> str | None: ...
    def delete_tagged(self, uri: str, tag: str) -> bool: ...
    def upload(self, file: IO[bytes], uri: str) -> None: ...
    def download(self, uri: str, file: IO[bytes], path: Path) -> None: ...
    def exists(self, uri: str) -> bool: ...
    def list_entries(self, uri: str) -> list[FileEntry]: ...
    def entry_of(self, uri: str) -> FileEntry: ...
    def delete(self, uri: str) -> None: ...


def _store(uri: str) -> _Store:
    return storage_s3 if is_s3(uri) else storage_local


def sha256_bytes(data: bytes) -> str:
    """Returns the hex sha256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | Path) -> str:
    """Returns the hex sha256 of a local file, read in blocks."""
    with storage_local.local_errors("read", str(path)), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def filesystem(uri: str) -> "tuple[pyarrow.fs.FileSystem, str]":
    """Returns pyarrow's file system for `uri` and the path inside it."""
    return _store(uri).filesystem(uri)


def read_bytes(uri: str) -> bytes:
    """Returns the whole content. Raises StorageError when it is missing or out of reach."""
    return _store(uri).read_bytes(uri)


def open_input(uri: str) -> "pyarrow.NativeFile":
    """Opens a file or object for reading at any position, without loading it whole."""
    opened, path = filesystem(uri)
    try:
        return opened.open_input_file(path)
    except OSError as error:
        raise StorageError(
            f"cannot read {uri}: {_arrow_reason(error)}. "
            "Check the path, the credentials and that the server runs."
        ) from error


def write_bytes(uri: str, data: bytes) -> None:
    """Writes `data` atomically, creating folders as needed (but never a bucket)."""
    _store(uri).write_bytes(uri, data)


def create_bytes(uri: str, data: bytes) -> str | None:
    """Writes `data` if nothing is there yet, and returns the tag of it; None if something is. One
    of several writers wins, on a disk and on every S3 server with conditional writes."""
    return _store(uri).create_bytes(uri, data)


def read_tagged(uri: str) -> tuple[bytes, str] | None:
    """The whole content and its tag, which equal content alone shares; None where nothing is."""
    return _store(uri).read_tagged(uri)


def replace_bytes(uri: str, data: bytes, tag: str) -> str | None:
    """Writes `data` if what is there still has that tag, and returns the new one; None if it has
    another, or is gone. Of several who read the same tag one wins, as in `create_bytes`."""
    return _store(uri).replace_bytes(uri, data, tag)


def delete_tagged(uri: str, tag: str) -> bool:
    """Removes what is there if it still has that tag; False if it has another, or is gone."""
    return _store(uri).delete_tagged(uri, tag)


def upload(path: Path, uri: str) -> str:
    """Sends a local file of any size to `uri`, atomically; returns the new version (see
    `entry_of`). Raises FileNotFoundError when the file has gone, StorageError otherwise."""
    with open(path, "rb") as file:
        _store(uri).upload(file, uri)
    return entry_of(uri).version


def download(uri: str, path: Path) -> None:
    """Fetches a file or object of any size into `path`, whole or not at all."""
    with storage_local.replaced(path, named=str(path), durable=False) as file:
        _store(uri).download(uri, file, path)


def exists(uri: str) -> bool:
    """True when `uri` is a file or object, or a folder or prefix with something in it."""
    return _store(uri).exists(uri)


def list_files(uri: str) -> list[str]:
    """Returns the paths of all files below `uri`, relative to it, sorted; [] when it is absent."""
    return [entry.path for entry in list_entries(uri)]


def list_entries(uri: str) -> list[FileEntry]:
    """The same with each file's size and version. Links are followed, each folder once."""
    return _store(uri).list_entries(uri)


def entry_of(uri: str) -> FileEntry:
    """Size and version of one file or object. Raises StorageError when it is missing."""
    return _store(uri).entry_of(uri)


def delete(uri: str) -> None:
    """Removes one file or object; one that is absent already is no error."""
    _store(uri).delete(uri)


def remove_empty_folder(uri: str) -> None:
    """Removes a local folder if it is empty; S3 has no folders."""
    if not is_s3(uri):
        with contextlib.suppress(OSError):
            local_path(uri).rmdir()


def _arrow_reason(error: OSError) -> str:
    """What pyarrow's S3 says in three lines, in three words."""
    found = re.search(r"AWS Error ([A-Z_]+)", str(error))
    return found[1].replace("_", " ").lower() if found else (error.strerror or "no such file")
