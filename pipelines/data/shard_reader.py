"""Reads one shard: checks its sha256, then decodes its pictures."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from nitrogen.pipelines.data.manifest import Manifest, ShardEntry
from nitrogen.platform import storage
from nitrogen.platform.errors import DataError

REMEDY = "Prepare the data set again, or copy the shard anew."


@dataclass(frozen=True)
class DecodedShard:
    """images: uint8 [n, h, w, 3]; labels: int64 [n]; keys: n strings."""

    images: np.ndarray
    labels: np.ndarray
    keys: tuple[str, ...]


@dataclass(frozen=True)
class ShardReader:
    """Reads the shards of the data set at `uri`.

    With `cache_dir`, shards of an `s3://` data set are kept there under their sha256, and taken
    from there the next time.
    """

    uri: str
    manifest: Manifest
    cache_dir: Path | None = None

    def read(self, shard: ShardEntry) -> DecodedShard:
        """Raises DataError naming the shard when it is missing, altered or does not decode."""
        height, width = self.manifest.image_size
        table = self._table(shard)
        images = np.empty((shard.rows, height, width, 3), np.uint8)
        for row, data in enumerate(table["image"].to_pylist()):
            images[row] = self._pixels(data, shard)
        labels = table["label"].to_numpy().astype(np.int64)
        if labels.size and not 0 <= labels.min() <= labels.max() < self.manifest.num_classes:
            raise self._bad(shard, "labels that the manifest has no class for")
        return DecodedShard(images, labels, tuple(table["key"].to_pylist()))

    def encoded(self, shard: ShardEntry) -> Iterator[tuple[bytes, int, str]]:
        """Yields (image bytes, label, key) of a shard without decoding the pictures."""
        table = self._table(shard)
        yield from zip(
            table["image"].to_pylist(),
            table["label"].to_pylist(),
            table["key"].to_pylist(),
            strict=True,
        )

    def _table(self, shard: ShardEntry) -> pa.Table:
        data = self._bytes(shard)
        try:
            table = pq.read_table(io.BytesIO(data), columns=["image", "label", "key"])
        except (pa.ArrowException, ValueError, KeyError) as error:
            raise self._bad(shard, "content that is not a shard") from error
        if table.num_rows != shard.rows or any(column.null_count for column in table.columns):
            raise self._bad(shard, "rows that differ from its manifest")
        return table

    def _bytes(self, shard: ShardEntry) -> bytes:
        cached = self.cache_dir / f"{shard.sha256}.parquet" if self.cache_dir else None
        if not storage.is_s3(self.uri):
            cached = None
        if cached and cached.exists():
            data = cached.read_bytes()
            if storage.sha256_bytes(data) == shard.sha256:
                return data
        path = storage.join(self.uri, shard.file)
        if not storage.exists(path):
            raise self._bad(shard, "no such file")
        data = storage.read_bytes(path)
        if storage.sha256_bytes(data) != shard.sha256:
            raise self._bad(shard, f"a sha256 other than {shard.sha256[:12]}...")
        if cached:
            storage.write_bytes(str(cached), data)
        return data

    def _pixels(self, data: bytes, shard: ShardEntry) -> np.ndarray:
        height, width = self.manifest.image_size
        try:
            with Image.open(io.BytesIO(data), formats=("PNG", "WEBP")) as picture:
                if picture.size != (width, height):
                    raise self._bad(shard, f"a picture of {picture.width}x{picture.height}")
                return np.asarray(picture.convert("RGB"))
        except (OSError, ValueError, SyntaxError) as error:
            raise self._bad(shard, "a picture that does not decode") from error

    def _bad(self, shard: ShardEntry, found: str) -> DataError:
        path = storage.join(self.uri, shard.file)
        return DataError(f"shard must match its manifest, got {found} in {path}. {REMEDY}")
