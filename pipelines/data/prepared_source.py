"""A prepared data set as a source: to resize the bundled emoji, or to move a set to S3."""

from collections.abc import Iterator
from functools import partial

from nitrogen.pipelines.data.manifest import load_manifest
from nitrogen.pipelines.data.shard_reader import ShardReader
from nitrogen.pipelines.data.source import Picture


class PreparedSource:
    """Reads the data set at `uri` with its classes, splits and notes; shards are verified."""

    def __init__(self, uri: str) -> None:
        self._manifest = load_manifest(uri)
        self._reader = ShardReader(uri, self._manifest)
        self.name = self._manifest.name
        self.classes = self._manifest.classes
        self.splits = frozenset(split for split, count in self._manifest.splits.items() if count)
        self.notes = self._manifest.notes
        self.num_pictures = sum(self._manifest.splits.values())

    def pictures(self) -> Iterator[Picture]:
        for shard in self._manifest.shards:
            for data, label, key in self._reader.encoded(shard):
                yield Picture(key, label, shard.split, partial(bytes, data))
