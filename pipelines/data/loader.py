"""A split of a prepared data set as arrays, verified and decoded once."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nitrogen.pipelines.data.batches import balance_weights, batch_indices
from nitrogen.pipelines.data.manifest import Manifest, ShardEntry, load_manifest
from nitrogen.pipelines.data.shard_reader import DecodedShard, ShardReader
from nitrogen.pipelines.data.shipped import resolve
from nitrogen.platform import storage
from nitrogen.platform.errors import DataError

__all__ = ["ShardDataset", "balance_weights", "batch_indices"]

MAX_IN_MEMORY_BYTES = 2 * 2**30


class ShardDataset:
    """One split of the prepared data set at `uri` (folder, `s3://`, or `bundled:emoji`).

    images: uint8 [n, h, w, 3]; labels: int64 [n]; keys: n strings; in the order of the shards.
    Pictures of more than `max_in_memory_bytes` once decoded are streamed shard by shard into one
    file in `cache_dir` (default: the user's cache folder), which `images` then maps: memory stays
    bounded, and a second loader on the machine finds the file ready.

    Raises DataError when there is no such data set or split, or when a shard was altered.
    """

    def __init__(
        self,
        uri: str,
        split: str,
        cache_dir: str | Path | None = None,
        *,
        max_in_memory_bytes: int = MAX_IN_MEMORY_BYTES,
    ) -> None:
        self.uri = resolve(str(uri))
        self.split = split
        self.manifest: Manifest = load_manifest(self.uri)
        self._shards = _shards_of(self.manifest, split, self.uri)
        self._reader = ShardReader(self.uri, self.manifest, Path(cache_dir) if cache_dir else None)
        height, width = self.manifest.image_size
        self._shape = (sum(shard.rows for shard in self._shards), height, width, 3)
        if int(np.prod(self._shape)) <= max_in_memory_bytes:
            self.images, self.labels, self.keys = self._in_memory()
        else:
            self.images, self.labels, self.keys = self._mapped(Path(cache_dir or user_cache()))

    def __len__(self) -> int:
        return self._shape[0]

    @property
    def classes(self) -> tuple[str, ...]:
        return self.manifest.classes

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.manifest.image_size

    def iter_shards(self) -> Iterator[DecodedShard]:
        """Yields the split shard by shard, verified and decoded, never more than one in memory."""
        for shard in self._shards:
            yield self._reader.read(shard)

    def batch(
        self,
        seed: int,
        global_step: int,
        batch_size: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        class_weights: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns this rank's part of the global batch: images uint8 [b, h, w, 3], labels [b]."""
        indices = batch_indices(seed, global_step, batch_size, len(self), class_weights)
        mine = indices[rank::world_size]
        return np.asarray(self.images[mine]), self.labels[mine]

    def _in_memory(self) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
        images = np.empty(self._shape, np.uint8)
        labels, keys = self._fill(images)
        return images, labels, keys

    def _mapped(self, folder: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
        name = f"{self.manifest.digest[:32]}-{self.split}"
        pixels, index = folder / f"{name}.u8", folder / f"{name}.npz"
        size = int(np.prod(self._shape))
        if not (index.exists() and pixels.exists() and pixels.stat().st_size == size):
            folder.mkdir(parents=True, exist_ok=True)
            self._decode_to(pixels, index)
        with np.load(index, allow_pickle=False) as stored:
            labels, keys = stored["labels"], tuple(stored["keys"].tolist())
        # "c": whoever writes changes a private copy of the page, never the file.
        return np.memmap(pixels, np.uint8, mode="c", shape=self._shape), labels, keys

    def _decode_to(self, pixels: Path, index: Path) -> None:
        """Writes both files under temporary names; the index, which says 'complete', comes last."""
        with tempfile.TemporaryDirectory(prefix=".decode-", dir=pixels.parent) as folder:
            draft = Path(folder) / "pixels"
            images = np.memmap(draft, np.uint8, mode="w+", shape=self._shape)
            labels, keys = self._fill(images)
            images.flush()
            del images
            np.savez(Path(folder) / "index.npz", labels=labels, keys=np.array(keys, dtype=np.str_))
            os.replace(draft, pixels)
            os.replace(Path(folder) / "index.npz", index)

    def _fill(self, images: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
        labels, start = np.empty(len(images), np.int64), 0
        keys: list[str] = []
        for shard in self.iter_shards():
            stop = start + len(shard.labels)
            images[start:stop], labels[start:stop] = shard.images, shard.labels
            keys.extend(shard.keys)
            start = stop
        return labels, tuple(keys)


def user_cache() -> Path:
    """The user's own cache folder: in a shared one anybody could lay files ready for us."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "nitrogen" / "data"


def _shards_of(manifest: Manifest, split: str, uri: str) -> list[ShardEntry]:
    shards = [shard for shard in manifest.shards if shard.split == split]
    if shards:
        return shards
    names = ", ".join(name for name, count in manifest.splits.items() if count)
    raise DataError(
        f"split must be one that the data set has ({names}), got {split} for "
        f"{storage.join(uri)}. Choose one of these, or prepare a data set with more pictures."
    )
