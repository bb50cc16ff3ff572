"""IDX files: MNIST and its kin (Fashion-MNIST, KMNIST, EMNIST), plain or gzipped.

Format: two zero bytes, a type (8 is unsigned byte), the number of dimensions, each dimension as a
big-endian 32-bit integer, then the values.
"""

import gzip
import math
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import BinaryIO

import numpy as np

from nitrogen.pipelines.data.limits import Limits
from nitrogen.pipelines.data.source import SPLIT_NAMES, Picture, printable
from nitrogen.platform import storage
from nitrogen.platform.errors import DataError

IMAGE_FILE = re.compile(r"^.*?(?P<split>train|t10k|test)-images[.-]idx\d-ubyte(\.gz)?$")
CLASS_NAMES_FILE = "classes.txt"
UNSIGNED_BYTE = 8


@dataclass(frozen=True)
class _Part:
    split: str
    images: str  # path, relative to the source
    labels: np.ndarray


class IdxSource:
    """Reads `*train-images-idx3-ubyte(.gz)` and `*t10k-images-...`, each with its label file.

    The classes are named after the label's number, or after the lines of `classes.txt`.
    """

    def __init__(self, uri: str, paths: list[str], limits: Limits) -> None:
        self._uri, self._limits = uri, limits
        self.name = printable(PurePosixPath(uri.rstrip("/")).name) or "idx"
        self._parts = [self._part(path, paths) for path in image_files(paths)]
        self.splits = frozenset(part.split for part in self._parts)
        self.num_pictures = sum(len(part.labels) for part in self._parts)
        num_labels = 1 + max((int(p.labels.max()) for p in self._parts if len(p.labels)), default=0)
        self.classes = self._class_names(num_labels, paths)
        self.notes: tuple[str, ...] = ()

    def pictures(self) -> Iterator[Picture]:
        for part in self._parts:
            images = self._images(part)
            for index, label in enumerate(part.labels):
                pixels = next(images)
                key = f"{printable(part.images)}#{index:08d}"
                yield Picture(key, int(label), part.split, partial(np.asarray, pixels))

    def _part(self, path: str, paths: list[str]) -> _Part:
        labels_path = _label_file(path, paths)
        if labels_path is None:
            raise DataError(
                f"source must have a label file beside {printable(path)}, got none in "
                f"{printable(self._uri)}. Add its -labels-idx1-ubyte file."
            )
        stream = self._open(labels_path)
        dims = self._header(stream, labels_path, allowed=(1,))
        if dims[0] > self._limits.max_pictures:
            raise DataError(
                f"source must have at most {self._limits.max_pictures} pictures, got {dims[0]} in "
                f"{printable(labels_path)}. Raise limits.max_pictures."
            )
        data = self._read(stream, dims[0], labels_path)
        split = SPLIT_NAMES[IMAGE_FILE.sub(r"\g<split>", path)]
        return _Part(split, path, np.frombuffer(data, np.uint8))

    def _images(self, part: _Part) -> Iterator[np.ndarray]:
        stream = self._open(part.images)
        dims = self._header(stream, part.images, allowed=(3, 4))
        shape = dims[1:] if len(dims) == 3 or dims[3] == 3 else dims[1:3]
        if dims[0] != len(part.labels):
            raise DataError(
                f"IDX files must have as many labels as pictures, got {len(part.labels)} and "
                f"{dims[0]} for {printable(part.images)}. Get the files again."
            )
        if not 0 < math.prod(dims[1:]) <= self._limits.max_pixels or (
            len(dims) > 3 and dims[3] > 3
        ):
            raise self._bad(part.images, f"pictures of {'x'.join(map(str, dims[1:]))}")
        for _ in range(dims[0]):
            data = self._read(stream, math.prod(dims[1:]), part.images)
            yield np.frombuffer(data, np.uint8).reshape(shape)

    def _open(self, path: str) -> BinaryIO:
        stream = storage.open_input(storage.join(self._uri, path))
        return gzip.GzipFile(fileobj=stream) if path.endswith(".gz") else stream  # type: ignore

    def _header(self, stream: BinaryIO, path: str, allowed: tuple[int, ...]) -> tuple[int, ...]:
        zeros, kind, num_dims = struct.unpack(">HBB", self._read(stream, 4, path))
        if zeros != 0 or kind != UNSIGNED_BYTE or num_dims not in allowed:
            raise self._bad(path, "another header")
        return struct.unpack(f">{num_dims}I", self._read(stream, 4 * num_dims, path))

    def _read(self, stream: BinaryIO, num_bytes: int, path: str) -> bytes:
        try:
            data = stream.read(num_bytes)
        except (OSError, EOFError, zlib.error) as error:
            raise self._bad(path, "a damaged gzip stream") from error
        if len(data) != num_bytes:
            raise self._bad(path, "a file that ends too early")
        return data

    def _class_names(self, num_labels: int, paths: list[str]) -> tuple[str, ...]:
        if CLASS_NAMES_FILE not in paths:
            return tuple(str(label) for label in range(num_labels))
        text = storage.read_bytes(storage.join(self._uri, CLASS_NAMES_FILE)).decode(
            "utf-8", "replace"
        )
        names = tuple(line.strip() for line in text.splitlines() if line.strip())
        if len(names) < num_labels:
            raise DataError(
                f"{CLASS_NAMES_FILE} must name {num_labels} classes, got {len(names)}. "
                "Write one name a line, in the order of the labels."
            )
        return names

    def _bad(self, path: str, found: str) -> DataError:
        return DataError(
            f"source must be IDX files of unsigned bytes, got {found} in {printable(path)}. "
            "Get the file again."
        )


def image_files(paths: list[str]) -> list[str]:
    """Returns the IDX image files; of a file that lies both plain and gzipped, the plain one."""
    found = {path for path in paths if IMAGE_FILE.match(path)}
    return sorted(
        path for path in found if path.removesuffix(".gz") == path or path[:-3] not in found
    )


def _label_file(images: str, paths: list[str]) -> str | None:
    stem = re.sub(r"-images([.-])idx\d-ubyte(\.gz)?$", r"-labels\1idx1-ubyte", images)
    return next((path for path in (stem, stem + ".gz") if path in paths), None)
