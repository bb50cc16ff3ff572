"""Files by URI: a local path, or `s3://bucket/key` on any S3 server.

Credentials and endpoint come from the usual environment (`AWS_ACCESS_KEY_ID`,
`AWS_SECRET_ACCESS_KEY`, `AWS_ENDPOINT_URL`, `AWS_DEFAULT_REGION`). Every failure is a StorageError
of one sentence, and comes in bounded time: few retries, short timeouts. Writes are atomic: a
reader sees the old content or the new one, never half of it.
"""

import contextlib
import functools
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nitrogen.platform.errors import StorageError

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.fs

S3_PREFIX = "s3://"
CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 30
MAX_ATTEMPTS = 2
TAKEN = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


def is_s3(uri: str) -> bool:
    return str(uri).startswith(S3_PREFIX)


def join(uri: str, *parts: str) -> str:
    """Appends `parts` to a URI or path with one slash between them."""
    joined = "/".join([str(uri).rstrip("/"), *(part.strip("/") for part in parts)])
    return joined or "/"


def sha256_bytes(data: bytes) -> str:
    """Returns the hex sha256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | Path) -> str:
    """Returns the hex sha256 of a local file, read in blocks."""
    with _local_errors("read", str(path)), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def filesystem(uri: str) -> "tuple[pyarrow.fs.FileSystem, str]":
    """Returns pyarrow's file system for `uri` and the path inside it.

    pyarrow ignores AWS_ENDPOINT_URL, so the endpoint is passed on here.
    """
    from pyarrow import fs

    if not is_s3(uri):
        return fs.LocalFileSystem(), str(_local_path(uri))
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    options: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "request_timeout": READ_TIMEOUT_S,
        "retry_strategy": fs.AwsStandardS3RetryStrategy(max_attempts=MAX_ATTEMPTS),
    }
    if region := _region():
        options["region"] = region
    if endpoint:
        options["endpoint_override"] = endpoint
    bucket, key = _bucket_and_key(uri)
    with _s3_errors("open", uri):
        return fs.S3FileSystem(**options), f"{bucket}/{key}".rstrip("/")


def read_bytes(uri: str) -> bytes:
    """Returns the whole content. Raises StorageError when it is missing or out of reach."""
    if not is_s3(uri):
        with _local_errors("read", uri):
            return _local_path(uri).read_bytes()
    bucket, key = _bucket_and_key(uri)
    with _s3_errors("read", uri):
        return _s3_client().get_object(Bucket=bucket, Key=key)["Body"].read()


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
    if is_s3(uri):
        bucket, key = _bucket_and_key(uri)
        with _s3_errors("write", uri):
            _s3_client().put_object(Bucket=bucket, Key=key, Body=data)
        return
    path = _local_path(uri)
    with _local_errors("write", uri):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def create_bytes(uri: str, data: bytes) -> bool:
    """Writes `data` if nothing is there yet; False if something is. One of several writers wins,
    on a disk and on every S3 server with conditional writes."""
    if is_s3(uri):
        from botocore.exceptions import ClientError

        bucket, key = _bucket_and_key(uri)
        with _s3_errors("write", uri):
            try:
                _s3_client().put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
            except ClientError as error:
                if error.response["Error"]["Code"] in TAKEN:
                    return False
                raise
        return True
    path = _local_path(uri)
    with _local_errors("write", uri):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return False
        with os.fdopen(handle, "wb") as file:
            file.write(data)
    return True


def upload(path: Path, uri: str) -> str:
    """Sends a local file of any size to `uri`, atomically; returns the new version (see
    `entry_of`). Raises FileNotFoundError when the file has gone, StorageError otherwise."""
    with open(path, "rb") as file:
        if not is_s3(uri):
            write_bytes(uri, file.read())
            return entry_of(uri).version
        bucket, key = _bucket_and_key(uri)
        with _s3_errors("write", uri):
            _s3_client().upload_fileobj(file, bucket, key)
    return entry_of(uri).version


def download(uri: str, path: Path) -> None:
    """Fetches a file or object of any size into `path`, whole or not at all."""
    with _local_errors("write", str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            if is_s3(uri):
                bucket, key = _bucket_and_key(uri)
                with _s3_errors("read", uri), _disk_errors(path):
                    _s3_client().download_fileobj(bucket, key, file)
            else:
                file.write(read_bytes(uri))
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def local_copy(uri: str) -> Path:
    """A local path of a file or folder: a local one itself, else a copy that lives as long as this
    process. Raises StorageError when nothing is there."""
    if not is_s3(uri):
        return _local_path(uri)
    entries = list_entries(uri)
    named = {entry.path: join(uri, entry.path) for entry in entries} or {"": uri}
    versions = [list(entry) for entry in entries] or [list(entry_of(uri))]
    digest = sha256_bytes(json.dumps([uri, versions]).encode())[:16]
    target = Path(_copies().name) / digest / (uri.rstrip("/").rpartition("/")[2] or "files")
    if not target.exists():
        # Whole or not at all: what a failed fetch left would pass for the folder next time.
        arriving = Path(tempfile.mkdtemp(dir=_copies().name)) / target.name
        for name, source in named.items():
            download(source, arriving / name if name else arriving)
        target.parent.mkdir(exist_ok=True)
        try:
            arriving.rename(target)
        except OSError:
            if not target.exists():  # else another thread was first
                raise
    return target


@contextlib.contextmanager
def workspace(uri: str) -> Iterator[Path]:
    """A local folder to write into: `uri` itself, or one whose files go to `uri` at the end."""
    if not is_s3(uri):
        path = _local_path(uri)
        with _local_errors("write", uri):
            path.mkdir(parents=True, exist_ok=True)
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="nitrogen-work-") as scratch:
        yield Path(scratch)
        for name in list_files(scratch):
            upload(Path(scratch) / name, join(uri, name))


@functools.lru_cache(maxsize=1)
def _copies() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="nitrogen-copies-")


def exists(uri: str) -> bool:
    """True when `uri` is a file or object, or a folder or prefix with something in it."""
    if not is_s3(uri):
        with _local_errors("read", uri):
            return _local_path(uri).exists()
    bucket, key = _bucket_and_key(uri)
    with _s3_errors("read", uri):
        client = _s3_client()
        if key and not key.endswith("/"):
            page = client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
            found = [item["Key"] for item in page.get("Contents", [])]
            if found and (found[0] == key or found[0].startswith(key + "/")):
                return True
        prefix = key.rstrip("/") + "/" if key else ""
        page = client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
        return bool(page.get("Contents"))


def list_files(uri: str) -> list[str]:
    """Returns the paths of all files below `uri`, relative to it, sorted; [] when it is absent."""
    return [entry.path for entry in list_entries(uri)]


class FileEntry(NamedTuple):
    """path: relative to what was listed; version: changes when the content does (mtime, ETag)."""

    path: str
    num_bytes: int
    version: str


def list_entries(uri: str) -> list[FileEntry]:
    """The same with each file's size and version. Links are followed, each folder once."""
    if not is_s3(uri):
        root = _local_path(uri)
        with _local_errors("list", uri):
            return sorted(_walk(root)) if root.is_dir() else []
    bucket, key = _bucket_and_key(uri)
    prefix = key.rstrip("/") + "/" if key else ""
    with _s3_errors("list", uri):
        pages = _s3_client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        entries = sorted(
            FileEntry(item["Key"][len(prefix) :], item["Size"], item["ETag"])
            for page in pages
            for item in page.get("Contents", [])
            if not item["Key"].endswith("/")
        )
    for entry in entries:
        _check_inside(entry.path, uri)
    return entries


def _check_inside(path: str, uri: str) -> None:
    """A key may be called anything; copied to a disk it must stay below the folder."""
    if path.startswith("/") or ".." in path.split("/"):
        raise StorageError(
            f"keys must be relative paths, got {path!r} below {uri}. Rename or delete that object."
        )


def entry_of(uri: str) -> FileEntry:
    """Size and version of one file or object. Raises StorageError when it is missing."""
    if not is_s3(uri):
        with _local_errors("read", uri):
            found = _local_path(uri).stat()
            return FileEntry(uri, found.st_size, str(found.st_mtime_ns))
    bucket, key = _bucket_and_key(uri)
    with _s3_errors("read", uri):
        head = _s3_client().head_object(Bucket=bucket, Key=key)
        return FileEntry(uri, head["ContentLength"], head["ETag"])


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


def delete(uri: str) -> None:
    """Removes one file or object; one that is absent already is no error."""
    if not is_s3(uri):
        with _local_errors("delete", uri):
            _local_path(uri).unlink(missing_ok=True)
        return
    bucket, key = _bucket_and_key(uri)
    with _s3_errors("delete", uri):
        _s3_client().delete_object(Bucket=bucket, Key=key)


def remove_empty_folder(uri: str) -> None:
    """Removes a local folder if it is empty; S3 has no folders."""
    if not is_s3(uri):
        with contextlib.suppress(OSError):
            _local_path(uri).rmdir()


def _local_path(uri: str) -> Path:
    text = str(uri)
    if text.startswith("file://"):
        text = text.removeprefix("file://")
    elif "://" in text:
        raise StorageError(
            f"uri must be a local path or s3://bucket/key, got {text}. Copy the files to one."
        )
    return Path(text).expanduser()


def _bucket_and_key(uri: str) -> tuple[str, str]:
    bucket, _, key = str(uri).removeprefix(S3_PREFIX).partition("/")
    if not bucket:
        raise StorageError(f"uri must be s3://bucket/key, got {uri}. Name the bucket.")
    return bucket, key


def _arrow_reason(error: OSError) -> str:
    """What pyarrow's S3 says in three lines, in three words."""
    found = re.search(r"AWS Error ([A-Z_]+)", str(error))
    return found[1].replace("_", " ").lower() if found else (error.strerror or "no such file")


def _region() -> str | None:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")


def _s3_client() -> Any:
    # Keyed by the environment, so that a test or a rotated key never meets a stale client.
    names = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_PROFILE")
    environment = tuple(os.environ.get(name) for name in names)
    secret = hashlib.sha256(os.environ.get("AWS_SECRET_ACCESS_KEY", "").encode()).hexdigest()
    return _cached_client((*environment, _region(), secret))


@functools.lru_cache(maxsize=4)
def _cached_client(_environment: tuple[str | None, ...]) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
        signature_version="s3v4",
    )
    # A session of its own: boto3's default session is not safe to create from several threads.
    return boto3.session.Session().client("s3", region_name=_region() or "us-east-1", config=config)


@contextlib.contextmanager
def _local_errors(action: str, uri: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot {action} {uri}: {error.strerror or error}. "
            "Check that the path exists, is writable and that the disk is not full."
        ) from error


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Disk full while an object is fetched is the disk's fault, not the server's."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise StorageError(
            f"cannot write {path}: {error.strerror}. Check that the disk is not full."
        ) from error


S3_REMEDIES = {
    "NoSuchKey": "Check the path.",
    "404": "Check the path.",
    "NoSuchBucket": "Create the bucket or check its name.",
    "InvalidAccessKeyId": "Check AWS_ACCESS_KEY_ID.",
    "SignatureDoesNotMatch": "Check AWS_SECRET_ACCESS_KEY.",
    "AccessDenied": "Check the credentials and the rights of their user.",
    "403": "Check the credentials and the rights of their user.",
}


@contextlib.contextmanager
def _s3_errors(action: str, uri: str) -> Iterator[None]:
    from botocore import exceptions

    try:
        yield
    except exceptions.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "unknown"))
        remedy = S3_REMEDIES.get(code, "Check the server's log.")
        raise StorageError(f"cannot {action} {uri}: the S3 server says {code}. {remedy}") from error
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise StorageError(
            f"cannot {action} {uri}: no credentials were found. "
            "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        ) from error
    except (exceptions.BotoCoreError, OSError) as error:
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        raise StorageError(
            f"cannot {action} {uri}: {endpoint or 'the S3 server'} does not answer "
            f"({type(error).__name__}). Check AWS_ENDPOINT_URL and that the server runs."
        ) from error
