"""Where a preparation may read and write: refuses places that cannot be meant."""

from pathlib import Path

from nitrogen.platform import storage
from nitrogen.platform.errors import DataError


def check_places(source: str, out: str) -> None:
    """Raises DataError for places that cannot be meant."""
    for field, value in (("source", source), ("out", out)):
        if not value:
            raise DataError(f"{field} must be a path or URI, got nothing. Name one.")
    if not storage.is_s3(out) and Path(out).expanduser().is_file():
        raise DataError(f"out must be a folder or s3://, got the file {out}. Choose another --out.")
    if storage.is_s3(source) or storage.is_s3(out) or ":" in source:
        same = out.rstrip("/") == source.rstrip("/") or out.startswith(source.rstrip("/") + "/")
    else:
        inside, outside = Path(out).expanduser().resolve(), Path(source).expanduser().resolve()
        same = inside == outside or outside in inside.parents
    if same:
        raise DataError(f"out must lie outside the source, got {out} in {source}. Choose another.")
