"""Objects on an S3 server: few retries, short timeouts, errors as sentences.

Credentials and endpoint come from the usual environment (`AWS_ACCESS_KEY_ID`,
`AWS_SECRET_ACCESS_KEY`, `AWS_ENDPOINT_URL`, `AWS_DEFAULT_REGION`).
"""

import contextlib
import functools
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from nitrogen.platform.errors import StorageError
from nitrogen.platform.storage_uris import FileEntry, bucket_and_key

if TYPE_CHECKING:
    import pyarrow.fs

CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 30
MAX_ATTEMPTS = 2
# What a conditional write is told whose condition does not hold; the third by AWS for If-Match on
# what is gone, the last two where an answer has no body.
CHANGED = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "412", "409")
REMEDIES = {
    "NoSuchKey": "Check the path.",
    "404": "Check the path.",
    "NoSuchBucket": "Create the bucket or check its name.",
    "InvalidAccessKeyId": "Check AWS_ACCESS_KEY_ID.",
    "SignatureDoesNotMatch": "Check AWS_SECRET_ACCESS_KEY.",
    "NotImplemented": "Use a server with conditional writes (If-Match, If-None-Match).",
    "AccessDenied": "Check the credentials and the rights of their user.",
    "403": "Check the credentials and the rights of their user.",
}


def filesystem(uri: str) -> "tuple[pyarrow.fs.FileSystem, str]":
    from pyarrow import fs

    options: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "request_timeout": READ_TIMEOUT_S,
        "retry_strategy": fs.AwsStandardS3RetryStrategy(max_attempts=MAX_ATTEMPTS),
    }
    if region := _region():
        options["region"] = region
    if endpoint := _endpoint():  # pyarrow ignores AWS_ENDPOINT_URL
        options["endpoint_override"] = endpoint
    bucket, key = bucket_and_key(uri)
    with s3_errors("open", uri):
        return fs.S3FileSystem(**options), f"{bucket}/{key}".rstrip("/")


def read_bytes(uri: str) -> bytes:
    bucket, key = bucket_and_key(uri)
    with s3_errors("read", uri):
        return client().get_object(Bucket=bucket, Key=key)["Body"].read()


def write_bytes(uri: str, data: bytes) -> None:
    bucket, key = bucket_and_key(uri)
    with s3_errors("write", uri):
        client().put_object(Bucket=bucket, Key=key, Body=data)


def create_bytes(uri: str, data: bytes) -> str | None:
    bucket, key = bucket_and_key(uri)
    with s3_errors("write", uri), _unless_changed() as done:
        done += [client().put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")["ETag"]]
    return done[0] if done else None


def read_tagged(uri: str) -> tuple[bytes, str] | None:
    from botocore.exceptions import ClientError

    bucket, key = bucket_and_key(uri)
    with s3_errors("read", uri):
        try:
            found = client().get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise
        return found["Body"].read(), found["ETag"]


def replace_bytes(uri: str, data: bytes, tag: str) -> str | None:
    bucket, key = bucket_and_key(uri)
    with s3_errors("write", uri), _unless_changed() as done:
        done += [client().put_object(Bucket=bucket, Key=key, Body=data, IfMatch=tag)["ETag"]]
    return done[0] if done else None


def delete_tagged(uri: str, tag: str) -> bool:
    bucket, key = bucket_and_key(uri)
    with s3_errors("delete", uri), _unless_changed() as done:
        client().delete_object(Bucket=bucket, Key=key, IfMatch=tag)
        done += [tag]
    return bool(done)


def upload(file: IO[bytes], uri: str) -> None:
    bucket, key = bucket_and_key(uri)
    with s3_errors("write", uri):
        client().upload_fileobj(file, bucket, key)


def download(uri: str, file: IO[bytes], path: Path) -> None:
    """Fetches an object into the open `file`, which an error of the disk calls `path`."""
    bucket, key = bucket_and_key(uri)
    with s3_errors("read", uri), _disk_errors(path):
        client().download_fileobj(bucket, key, file)


def exists(uri: str) -> bool:
    bucket, key = bucket_and_key(uri)
    with s3_errors("read", uri):
        if key and not key.endswith("/"):
            page = client().list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
            found = [item["Key"] for item in page.get("Contents", [])]
            if found and (found[0] == key or found[0].startswith(key + "/")):
                return True
        prefix = key.rstrip("/") + "/" if key else ""
        page = client().list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
        return bool(page.get("Contents"))


def list_entries(uri: str) -> list[FileEntry]:
    bucket, key = bucket_and_key(uri)
    prefix = key.rstrip("/") + "/" if key else ""
    with s3_errors("list", uri):
        pages = client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        entries = sorted(
            FileEntry(item["Key"][len(prefix) :], item["Size"], item["ETag"])
            for page in pages
            for item in page.get("Contents", [])
            if not item["Key"].endswith("/")
        )
    for entry in entries:
        _check_inside(entry.path, uri)
    return entries


def entry_of(uri: str) -> FileEntry:
    bucket, key = bucket_and_key(uri)
    with s3_errors("read", uri):
        head = client().head_object(Bucket=bucket, Key=key)
        return FileEntry(uri, head["ContentLength"], head["ETag"])


def delete(uri: str) -> None:
    bucket, key = bucket_and_key(uri)
    with s3_errors("delete", uri):
        client().delete_object(Bucket=bucket, Key=key)


def client() -> Any:
    """boto3's client for the environment as it is now."""
    # Keyed by the environment, so that a test or a rotated key never meets a stale client.
    names = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_PROFILE")
    environment = tuple(os.environ.get(name) for name in names)
    secret = hashlib.sha256(os.environ.get("AWS_SECRET_ACCESS_KEY", "").encode()).hexdigest()
    return _cached_client((*environment, _region(), secret))


@contextlib.contextmanager
def s3_errors(action: str, uri: str) -> Iterator[None]:
    """What boto3 raises as one sentence."""
    from botocore import exceptions

    try:
        yield
    except exceptions.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "unknown"))
        remedy = REMEDIES.get(code, "Check the server's log.")
        raise StorageError(f"cannot {action} {uri}: the S3 server says {code}. {remedy}") from error
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise StorageError(
            f"cannot {action} {uri}: no credentials were found. "
            "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        ) from error
    except (exceptions.BotoCoreError, OSError) as error:
        raise StorageError(
            f"cannot {action} {uri}: {_endpoint() or 'the S3 server'} does not answer "
            f"({type(error).__name__}). Check AWS_ENDPOINT_URL and that the server runs."
        ) from error


@contextlib.contextmanager
def _unless_changed() -> Iterator[list[str]]:
    """A list for the tag of what was written; it stays empty when the condition did not hold."""
    from botocore.exceptions import ClientError

    done: list[str] = []
    try:
        yield done
    except ClientError as error:
        if error.response["Error"]["Code"] not in CHANGED:
            raise


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


def _region() -> str | None:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def _check_inside(path: str, uri: str) -> None:
    """A key may be called anything; copied to a disk it must stay below the folder."""
    if path.startswith("/") or ".." in path.split("/"):
        raise StorageError(
            f"keys must be relative paths, got {path!r} below {uri}. Rename or delete that object."
        )


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
