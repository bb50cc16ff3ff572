"""Files on a disk of this machine: written atomically, listed once, errors as sentences."""

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from nitrogen.platform.errors import StorageError
from nitrogen.platform.storage_uris import FileEntry, local_path

if TYPE_CHECKING:
    import pyarrow.fs


def filesystem(uri: str) -> "tuple[pyarrow.fs.FileSystem, str]":
    from pyarrow import fs

    return fs.LocalFileSystem(), str(local_path(uri))


def read_bytes(uri: str) -> bytes:
    with local_errors("read", uri):
        return local_path(uri).read_bytes()


def write_bytes(uri: str, data: bytes) -> None:
    with replaced(local_path(uri), named=uri, durable=True) as file:
        file.write(data)


def create_bytes(uri: str, data: bytes) -> str | None:
    path = local_path(uri)
    with local_errors("write", uri):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Never there half: who reads an empty lock takes it for nobody's.
            with whole(path, durable=True, place=os.link) as file:
                file.write(data)
        except FileExistsError:
            return None
    return _tag(data)


def read_tagged(uri: str) -> tuple[bytes, str] | None:
    with local_errors("read", uri):
        try:
            data = local_path(uri).read_bytes()
        except FileNotFoundError:
            return None
    return data, _tag(data)


def replace_bytes(uri: str, data: bytes, tag: str) -> str | None:
    with _one_at_a_time(uri):
        found = read_tagged(uri)
        if found is None or found[1] != tag:
            return None
        write_bytes(uri, data)
    return _tag(data)


def delete_tagged(uri: str, tag: str) -> bool:
    with _one_at_a_time(uri):
        found = read_tagged(uri)
        if found is None or found[1] != tag:
            return False
        delete(uri)
    return True


def upload(file: IO[bytes], uri: str) -> None:
    write_bytes(uri, file.read())


def download(uri: str, file: IO[bytes], path: Path) -> None:
    file.write(read_bytes(uri))


def exists(uri: str) -> bool:
    with local_errors("read", uri):
        return local_path(uri).exists()


def list_entries(uri: str) -> list[FileEntry]:
    root = local_path(uri)
    with local_errors("list", uri):
        return sorted(_walk(root)) if root.is_dir() else []


def entry_of(uri: str) -> FileEntry:
    with local_errors("read", uri):
        found = local_path(uri).stat()
        return FileEntry(uri, found.st_size, str(found.st_mtime_ns))


def delete(uri: str) -> None:
    with local_errors("delete", uri):
        local_path(uri).unlink(missing_ok=True)


@contextlib.contextmanager
def replaced(path: Path, *, named: str, durable: bool) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when it is whole, and else leaves nothing.

    named: what an error calls it; durable: on the disk before it takes its place.
    """
    with local_errors("write", named):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path, durable=durable) as file:
            yield file


@contextlib.contextmanager
def whole(
    path: Path, *, durable: bool, place: Callable[[str, Path], None] = os.replace
) -> Iterator[IO[bytes]]:
    """The same in a folder that is there, with the system's own errors.

    place: os.replace, or os.link for a file that must not be there yet (FileExistsError). What a
    link points to is written, not the link.
    """
    path = path.resolve() if path.is_symlink() else path
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        place(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)  # gone where it took the place


@contextlib.contextmanager
def local_errors(action: str, uri: str) -> Iterator[None]:
    """An OSError as one sentence."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot {action} {uri}: {error.strerror or error}. "
            "Check that the path exists, is writable and that the disk is not full."
        ) from error


def _tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def _one_at_a_time(uri: str) -> Iterator[None]:
    """Who compares and then changes a file locks the folder it lies in: a replaced file is another
    file, and a lock on it would hold nobody up."""
    with local_errors("write", uri):
        try:
            folder = os.open(local_path(uri).parent, os.O_RDONLY)
        except FileNotFoundError:
            yield  # there is nothing to compare with
            return
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _walk(root: Path) -> Iterator[FileEntry]:
    def fail(error: OSError) -> None:
        raise error

    seen: set[tuple[int, int]] = set()
    for folder, names, files in os.walk(root, followlinks=True, onerror=fail):
        names.sort()
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            # A link that leads back up: without this it would be walked for ever.
            names.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        for name in files:
            path = Path(folder, name)
            # No device, socket or named pipe, whose reading would never end. A dead link is listed:
            # whoever reads it learns that it is dead.
            dead = path.is_symlink() and not path.exists()
            if path.is_file() or dead:
                found = path.lstat() if dead else path.stat()
                relative = path.relative_to(root).as_posix()
                yield FileEntry(relative, found.st_size, str(found.st_mtime_ns))
