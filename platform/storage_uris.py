"""What a URI of a file names: a local path, or a key in a bucket."""

from pathlib import Path
from typing import NamedTuple

from nitrogen.platform.errors import StorageError

S3_PREFIX = "s3://"


class FileEntry(NamedTuple):
    """path: relative to what was listed; version: changes when the content does (mtime, ETag)."""

    path: str
    num_bytes: int
    version: str


def is_s3(uri: str) -> bool:
    return str(uri).startswith(S3_PREFIX)


def join(uri: str, *parts: str) -> str:
    """Appends `parts` to a URI or path with one slash between them."""
    joined = "/".join([str(uri).rstrip("/"), *(part.strip("/") for part in parts)])
    return joined or "/"


def local_path(uri: str) -> Path:
    """The path of a local URI. Raises StorageError for one of another kind."""
    text = str(uri)
    if text.startswith("file://"):
        text = text.removeprefix("file://")
    elif "://" in text:
        raise StorageError(
            f"uri must be a local path or s3://bucket/key, got {text}. Copy the files to one."
        )
    return Path(text).expanduser()


def bucket_and_key(uri: str) -> tuple[str, str]:
    """Both parts of an S3 URI; the key may be empty. Raises StorageError without a bucket."""
    bucket, _, key = str(uri).removeprefix(S3_PREFIX).partition("/")
    if not bucket:
        raise StorageError(f"uri must be s3://bucket/key, got {uri}. Name the bucket.")
    return bucket, key
