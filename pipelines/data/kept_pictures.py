"""What a preparation has converted so far, in files beside its shards: cut off, it goes on there.

Reading and converting are what takes long (milliseconds a picture), writing shards is not. So the
pictures are kept in the source's order, and a preparation that begins again reads them back,
converts the rest and writes all shards anew: they are the same, whatever cut it off and when.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nitrogen.pipelines.data.convert import Outcome
from nitrogen.pipelines.data.moments import Moments
from nitrogen.pipelines.data.source import Picture
from nitrogen.platform import storage
from nitrogen.platform.errors import StorageError

KEPT_NAME = re.compile(r"^\.kept-\d{6}\.part$")
IDENTITY = b"nitrogen.identity"
# A file at least this often, or at this size: what a cut-off may cost, and memory.
INTERVAL_S = 20.0
MAX_BYTES = 32 * 2**20
_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.int32()),
        ("split", pa.string()),
        ("content", pa.string()),
        ("reason", pa.string()),
        ("traits", pa.list_(pa.string())),
        ("encoded", pa.binary()),
        ("size", pa.list_(pa.int32())),
        ("total", pa.list_(pa.float64())),
        ("squares", pa.list_(pa.float64())),
    ]
)


class KeptPictures:
    """The outcomes of a source's first pictures, in `out`.

    identity: says which source, options and code they are of; files of another one are removed.
    """

    def __init__(self, out: str, identity: str) -> None:
        self._out, self._identity = out, identity
        self._num_files, self._keeps = 0, True
        self._outcomes = self._read()
        self._new: list[Outcome] = []
        self._new_bytes, self._written_at = 0, time.monotonic()

    def take(self, picture: Picture) -> Outcome | None:
        """The outcome of the source's next picture; None from the first that is not kept on."""
        outcome = next(self._outcomes, None)
        if outcome is None:
            return None
        if (outcome.key, outcome.label, outcome.split) == (
            picture.key,
            picture.label,
            picture.split,
        ):
            return outcome
        # The source gives other pictures than it said: what is kept would not be its first ones.
        self._outcomes, self._keeps = iter(()), False
        self.clear()
        return None

    def add(self, outcome: Outcome) -> None:
        """Keeps the outcome of the next picture, with others, within INTERVAL_S."""
        if not self._keeps:
            return
        self._new.append(outcome)
        self._new_bytes += len(outcome.encoded)
        due = time.monotonic() - self._written_at >= INTERVAL_S
        if due or self._new_bytes >= MAX_BYTES:
            self.write()

    def write(self) -> None:
        """Puts what was added since the last file into one."""
        if not self._new:
            return
        rows = [_row(outcome) for outcome in self._new]
        schema = _SCHEMA.with_metadata({IDENTITY: self._identity.encode()})
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema), sink, compression="none")
        storage.write_bytes(self._path(self._num_files), sink.getvalue())
        self._num_files += 1
        self._new, self._new_bytes, self._written_at = [], 0, time.monotonic()

    def clear(self) -> None:
        """Removes every file, those of other sources too."""
        self._remove(0)
        self._num_files, self._new, self._new_bytes = 0, [], 0

    def _read(self) -> Iterator[Outcome]:
        while (table := self._table(self._num_files)) is not None:
            self._num_files += 1
            yield from map(_outcome, table.to_pylist())
        # What lies beyond would otherwise one day be taken for what follows.
        self._remove(self._num_files)
        self._written_at = time.monotonic()

    def _table(self, number: int) -> pa.Table | None:
        path = self._path(number)
        if not storage.exists(path):
            return None
        try:
            table = pq.read_table(io.BytesIO(storage.read_bytes(path)))
        except (pa.ArrowException, OSError, StorageError):
            return None
        ours = (table.schema.metadata or {}).get(IDENTITY) == self._identity.encode()
        return table if ours and table.schema.remove_metadata() == _SCHEMA else None

    def _remove(self, start: int) -> None:
        kept = {self._path(number) for number in range(start)}
        for file in filter(KEPT_NAME.match, storage.list_files(self._out)):
            path = storage.join(self._out, file)
            if path not in kept:
                storage.delete(path)

    def _path(self, number: int) -> str:
        return storage.join(self._out, f".kept-{number:06d}.part")


def _row(outcome: Outcome) -> dict[str, object]:
    return {
        "key": outcome.key,
        "label": outcome.label,
        "split": outcome.split,
        "content": outcome.content,
        "reason": outcome.reason,
        "traits": sorted(outcome.traits),
        "encoded": outcome.encoded,
        "size": list(outcome.size),
        "total": outcome.moments.total.tolist(),
        "squares": outcome.moments.squares.tolist(),
    }


def _outcome(row: dict) -> Outcome:
    height, width = row["size"]
    moments = Moments(np.array(row["total"]), np.array(row["squares"]), height * width)
    return Outcome(
        row["key"], row["label"], row["split"], row["content"], row["reason"],
        frozenset(row["traits"]), row["encoded"], (height, width), moments,
    )  # fmt: skip
