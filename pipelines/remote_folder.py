"""Run folders in a bucket: the folder on this machine that mirrors one, and who may read it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from nitrogen.pipelines.run_folder import RunFolder
from nitrogen.pipelines.run_lock import lock_holder
from nitrogen.pipelines.trained_models import shipped_name
from nitrogen.platform.errors import ConfigError
from nitrogen.platform.storage_uris import S3_PREFIX, is_s3

if TYPE_CHECKING:
    from nitrogen.platform.mirror import Mirror


def open_out(out: Path | str) -> tuple[Path, Mirror | None]:
    """The local folder that a run works in, and its mirror where `out` is s3://bucket/prefix.

    The folder is the same for the same URI, so a run that was killed goes on from what lies there.
    Raises ConfigError for a bucket without a folder in it.
    """
    if not is_s3(str(out)):
        return Path(out), None
    from nitrogen.platform.mirror import Mirror
    from nitrogen.platform.tracking import default_home

    uri = check_bucket(str(out))
    name = uri.rpartition("/")[2]
    digest = hashlib.sha256(uri.encode()).hexdigest()[:12]
    folder = default_home() / "runs" / f"{name}-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder, Mirror(folder, uri)


def check_bucket(out: str) -> str:
    """The URI without empty parts. Raises ConfigError for a bucket without a folder in it."""
    bucket, *names = out.removeprefix(S3_PREFIX).rstrip("/").split("/")
    if not bucket or not all(names) or not names:
        raise ConfigError(
            f"a run folder in a bucket must be s3://bucket/run, got {out}. Name both parts."
        )
    return S3_PREFIX + "/".join([bucket, *names])


def fetched(run: Path | str) -> Path:
    """A run folder to read on this machine; one in a bucket is fetched first.

    While a run of this machine works in it the folder is newer than the bucket: a fetch would put
    older copies, of the database too, under the hands of the run.
    Shipped weights stay named as they are. Raises StorageError when the bucket is out of reach.
    """
    if shipped_name(run) is not None:
        return Path(run)
    folder, mirror = open_out(run)
    if mirror is not None and lock_holder(RunFolder(folder).lock_path) is None:
        mirror.pull()
    return folder
