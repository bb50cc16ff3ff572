"""Chooses the reader for a source by what lies there."""

from pathlib import Path, PurePosixPath

from nitrogen.pipelines.data.folder_source import FolderSource, is_picture
from nitrogen.pipelines.data.idx_source import IdxSource, image_files
from nitrogen.pipelines.data.limits import Limits
from nitrogen.pipelines.data.manifest import MANIFEST_FILE, SHARD_NAME
from nitrogen.pipelines.data.parquet_source import ParquetSource
from nitrogen.pipelines.data.prepared_source import PreparedSource
from nitrogen.pipelines.data.scenes import SceneSource
from nitrogen.pipelines.data.shipped import BUNDLED_PREFIX, SCENES, resolve
from nitrogen.pipelines.data.source import Source, printable
from nitrogen.platform import storage
from nitrogen.platform.errors import DataError

KINDS = "a folder with one sub-folder of pictures per class, Parquet, IDX files or bundled:emoji"


def open_source(
    source: str,
    limits: Limits,
    *,
    image_column: str | None = None,
    label_column: str | None = None,
) -> Source:
    """Returns the reader for `source`: a folder, a Parquet file, an IDX file, local or on S3.

    Raises DataError when nothing is there or when it is none of these.
    """
    if source == SCENES:
        return SceneSource()
    if source.startswith(BUNDLED_PREFIX):
        return PreparedSource(resolve(source))
    uri = source.rstrip("/") or "/"
    columns = {"image_column": image_column, "label_column": label_column}
    if _is_file(uri):
        return _open_file(uri, limits, columns)
    entries = storage.list_entries(uri)
    paths = [entry.path for entry in entries]
    if MANIFEST_FILE in paths and any(SHARD_NAME.match(path) for path in paths):
        return PreparedSource(uri)
    parquet = [path for path in paths if path.endswith(".parquet")]
    kinds = {
        "IDX files": bool(image_files(paths)),
        "Parquet": bool(parquet),
        "pictures": any(is_picture(path) for path in paths),
    }
    found = [name for name, present in kinds.items() if present]
    if not found:
        raise _nothing(source, entries)
    if len(found) > 1:
        raise DataError(
            f"source must hold one kind of data, got {' and '.join(found)} in {printable(source)}. "
            "Keep them in folders of their own."
        )
    if kinds["IDX files"]:
        return IdxSource(uri, paths, limits)
    if parquet:
        return ParquetSource(uri, parquet, limits, **columns)
    return FolderSource(uri, entries, limits)


def _is_file(uri: str) -> bool:
    if storage.is_s3(uri):
        return uri.endswith((".parquet", "-ubyte", "-ubyte.gz"))
    return Path(uri).expanduser().is_file()


def _open_file(uri: str, limits: Limits, columns: dict[str, str | None]) -> Source:
    if uri.endswith(".parquet"):
        return ParquetSource(uri, [""], limits, **columns)
    path = PurePosixPath(uri)
    if image_files([path.name]):
        folder = uri.removesuffix(path.name).rstrip("/") or "."
        names = [name for name in storage.list_files(folder) if "/" not in name]
        others = [name for name in names if name == path.name or not image_files([name])]
        return IdxSource(folder, others, limits)
    raise DataError(f"source must be {KINDS}, got the file {printable(uri)}. Unpack it first.")


def _nothing(source: str, entries: list[storage.FileEntry]) -> DataError:
    if not entries and not storage.exists(source):
        return DataError(f"source must exist, got {printable(source)}. Check the path.")
    found = f"{len(entries)} other files" if entries else "nothing"
    return DataError(
        f"source must be {KINDS}, got {found} in {printable(source)}. "
        "Put .png, .jpg, .webp, .bmp or .gif files there."
    )
