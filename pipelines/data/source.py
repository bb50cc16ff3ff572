"""What a reader offers, and the one function that chooses the reader."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "t10k": "test",
}


@dataclass(frozen=True)
class Picture:
    """One picture of a source, not yet read.

    key: unique in the source; label: index into its classes, None when it has none; split: the
    source's own, or None; load: returns the file's bytes or uint8 pixels [h, w(, 3)] and raises
    BrokenPictureError.
    """

    key: str
    label: int | None
    split: str | None
    load: Callable[[], bytes | np.ndarray]


class Source(Protocol):
    """A reader: what it knows before any picture is decoded, and the pictures in a fixed order."""

    name: str
    classes: tuple[str, ...]
    splits: frozenset[str]
    notes: tuple[str, ...]
    num_pictures: int

    def pictures(self) -> Iterator[Picture]: ...


def split_in_name(path: str) -> str | None:
    """'val/cat/1.png' -> 'validation', 'test-00000-of-00002.parquet' -> 'test', else None."""
    first = path.split("/")[0].lower()
    return SPLIT_NAMES.get(re.split(r"[-_.]", first)[0]) if first else None


def printable(path: str) -> str:
    """The path as text that any file can hold: bytes that are not UTF-8 appear as \\xNN."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
