"""Rows on disk: found by key, written whole or not at all, so that a killed run goes on.

A row is `<key>.json` (what is printed) and `<key>.npz` (per seed values that the summary
resamples). The JSON comes last: without it there is no row.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nitrogen.pipelines.atomic_json import jsonable, read_json, write_json


@dataclass(frozen=True)
class Row:
    """values: JSON; arrays: per seed, [n, ...]."""

    key: str
    values: dict[str, Any]
    arrays: dict[str, np.ndarray]


def row_key(described: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """20 hex digits of everything the row depends on."""
    text = json.dumps(jsonable([dict(described), dict(facts)]), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


class RowStore:
    """The rows in one folder; it is made when the first one is written."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)

    def get(self, key: str) -> Row | None:
        """The row, or None where there is none or where it is damaged."""
        values = read_json(self.folder / f"{key}.json")
        if not isinstance(values, dict):
            return None
        try:
            file = self.folder / f"{key}.npz"
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            whole = all(isinstance(array, np.ndarray) for array in arrays.values())
            return Row(key, values, arrays) if whole else None
        except Exception:  # whatever is wrong with what is kept: it is measured again
            return None

    def has(self, key: str) -> bool:
        """Whether there seems to be one: `get` may still find it damaged."""
        return (self.folder / f"{key}.json").is_file()

    def put(self, row: Row) -> Row:
        self.folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.folder, prefix=".row-")
        try:
            with os.fdopen(handle, "wb") as stream:
                arrays: dict[str, Any] = dict(row.arrays)
                np.savez_compressed(stream, **arrays)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(name, self.folder / f"{row.key}.npz")
        finally:
            Path(name).unlink(missing_ok=True)
        write_json(self.folder / f"{row.key}.json", row.values)
        return row
