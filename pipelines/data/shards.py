"""Writes Parquet shards and, last of all, the manifest that makes them a data set."""

import io
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from nitrogen.pipelines.data.kept_pictures import KEPT_NAME
from nitrogen.pipelines.data.manifest import (
    MANIFEST_FILE,
    SHARD_NAME,
    SPLITS,
    BrokenImage,
    Manifest,
    Origin,
    ShardEntry,
    content_digest,
)
from nitrogen.pipelines.data.moments import NO_PIXELS, Moments
from nitrogen.platform import storage
from nitrogen.platform.errors import DataError

SHARD_SCHEMA = pa.schema(
    [("image", pa.binary()), ("label", pa.int32()), ("split", pa.string()), ("key", pa.string())]
)
# A shard is the unit of streaming, so it is bounded by what it takes in memory once decoded.
MAX_SHARD_DECODED_BYTES = 64 * 2**20
MAX_SHARD_ENCODED_BYTES = 32 * 2**20
MAX_LISTED_BROKEN = 1000
# What `storage.write_bytes` leaves when its process is killed.
DRAFT_NAME = re.compile(
    r"^\.((train|validation|test)-\d{5}\.parquet|manifest\.json|\.kept-\d{6}\.part)\.\w+$"
)
# What a preparation may find in its target: its own manifest, and licences that people put there.
KEPT_FILES = frozenset({MANIFEST_FILE, "LICENSES.md"})


@dataclass
class _SplitBuffer:
    images: list[bytes] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    num_bytes: int = 0
    num_shards: int = 0
    num_rows: int = 0


class ShardWriter:
    """Collects encoded pictures by split and writes them as shards of bounded size.

    out: folder or URI; classes: label -> name; image_size: (height, width) of every picture.
    Call `add` for each picture and `finish` once; without `finish` there is no manifest and the
    target counts as half-written.
    """

    def __init__(self, out: str, *, classes: Iterable[str], image_size: tuple[int, int]) -> None:
        self.out = out
        self.classes = tuple(classes)
        self.image_size = image_size
        self._shard_rows = max(1, MAX_SHARD_DECODED_BYTES // (image_size[0] * image_size[1] * 3))
        self._buffers = {split: _SplitBuffer() for split in SPLITS}
        self._counts = {name: dict.fromkeys(SPLITS, 0) for name in self.classes}
        self._shards: list[ShardEntry] = []
        self._moments = NO_PIXELS

    def add(
        self,
        *,
        split: str,
        key: str,
        label: int,
        size: tuple[int, int],
        moments: Moments,
        encoded: bytes,
    ) -> None:
        """Adds one picture. encoded: lossless PNG or WebP of `size` (height, width)."""
        if size != self.image_size:
            raise ValueError(f"size must be {self.image_size}, got {size} for {key}.")
        buffer = self._buffers[split]
        buffer.images.append(encoded)
        buffer.labels.append(label)
        buffer.keys.append(key)
        buffer.num_bytes += len(encoded)
        self._counts[self.classes[label]][split] += 1
        if split == "train":
            self._moments += moments
        if len(buffer.labels) >= self._shard_rows or buffer.num_bytes >= MAX_SHARD_ENCODED_BYTES:
            self._flush(split)

    def finish(
        self,
        *,
        name: str,
        notes: Iterable[str] = (),
        broken: Iterable[BrokenImage] = (),
        origin: Origin | None = None,
    ) -> Manifest:
        """Writes what is left and then the manifest; returns it."""
        for split in SPLITS:
            if self._buffers[split].labels:
                self._flush(split)
        broken = tuple(broken)
        shards = tuple(sorted(self._shards, key=lambda s: (SPLITS.index(s.split), s.file)))
        mean, std = self._moments.statistics()
        manifest = Manifest(
            name=name,
            image_size=self.image_size,
            num_classes=len(self.classes),
            classes=self.classes,
            splits={split: self._buffers[split].num_rows for split in SPLITS},
            class_counts=self._counts,
            shards=shards,
            schema_={column.name: str(column.type) for column in SHARD_SCHEMA},
            channel_mean=mean,
            channel_std=std,
            num_broken=len(broken),
            broken=broken[:MAX_LISTED_BROKEN],
            notes=tuple(notes),
            digest=content_digest(shards, self.classes, self.image_size),
            origin=origin,
        )
        storage.write_bytes(storage.join(self.out, MANIFEST_FILE), manifest.to_json().encode())
        return manifest

    def _flush(self, split: str) -> None:
        buffer = self._buffers[split]
        table = pa.table(
            [buffer.images, buffer.labels, [split] * len(buffer.keys), buffer.keys],
            schema=SHARD_SCHEMA,
        )
        sink = io.BytesIO()
        # The pictures are compressed already; Parquet would only spend time on them.
        pq.write_table(
            table, sink, compression="none", use_dictionary=False, write_statistics=False
        )
        data = sink.getvalue()
        file = f"{split}-{buffer.num_shards:05d}.parquet"
        storage.write_bytes(storage.join(self.out, file), data)
        self._shards.append(
            ShardEntry(
                file=file,
                split=split,
                rows=table.num_rows,
                bytes=len(data),
                sha256=storage.sha256_bytes(data),
            )
        )
        self._buffers[split] = _SplitBuffer(
            num_shards=buffer.num_shards + 1, num_rows=buffer.num_rows + table.num_rows
        )

    def classes_without(self, split: str) -> list[str]:
        """Names of the classes that have no picture in `split` so far."""
        return [name for name, counts in self._counts.items() if not counts[split]]


def check_target(out: str, *, overwrite: bool) -> None:
    """Raises DataError when `out` holds a finished data set (unless `overwrite`) or files that no
    preparation wrote (always: they are not ours to delete). Changes nothing."""
    files = storage.list_files(out)
    foreign = [f for f in files if f not in KEPT_FILES and not (_ours(f) or KEPT_NAME.match(f))]
    if foreign:
        raise DataError(
            f"out must be empty or a prepared data set, got {out} with {foreign[0]!r} in it. "
            "Choose another --out."
        )
    if MANIFEST_FILE in files and not overwrite:
        raise DataError(
            f"out must not hold a finished data set, got {out} ({_name_of(out)}). "
            "Choose another --out or pass --overwrite."
        )


def clear_target(out: str) -> None:
    """Removes shards and manifest of an earlier preparation from `out`, not its kept pictures."""
    # First the manifest: from here on the target counts as half-written.
    storage.delete(storage.join(out, MANIFEST_FILE))
    for file in storage.list_files(out):
        if _ours(file):
            storage.delete(storage.join(out, file))


def _ours(file: str) -> bool:
    return bool(SHARD_NAME.match(file) or DRAFT_NAME.match(file))


def _name_of(out: str) -> str:
    try:
        return str(json.loads(storage.read_bytes(storage.join(out, MANIFEST_FILE)))["name"])
    except (ValueError, KeyError, TypeError):
        return "unreadable manifest"
