"""A folder of pictures: the class is the first sub-folder; train/val/test folders may lie above."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from nitrogen.pipelines.data.images import SUFFIXES, BrokenPictureError
from nitrogen.pipelines.data.limits import Limits
from nitrogen.pipelines.data.source import SPLIT_NAMES, Picture, printable
from nitrogen.platform import storage
from nitrogen.platform.errors import DataError, StorageError
from nitrogen.platform.storage_uris import FileEntry


class FolderSource:
    """Reads `uri/<class>/**/<picture>` or `uri/<train|val|test>/<class>/**/<picture>`.

    A folder with pictures but without sub-folders is one class, named after the folder.
    """

    def __init__(self, uri: str, entries: list[FileEntry], limits: Limits) -> None:
        self._uri, self._limits = uri, limits
        visible = [(path, size) for path, size, _ in entries if not _hidden(path)]
        self._files = sorted((path, size) for path, size in visible if is_picture(path))
        self.name = printable(PurePosixPath(uri.rstrip("/")).name) or "pictures"
        self.num_pictures = len(self._files)
        self._has_splits = _has_splits([path for path, _ in self._files])
        located = [self._locate(path) for path, _ in self._files]
        self._flat = all(name is None for name, _ in located)
        names = {self.name} if self._flat else {name for name, _ in located if name is not None}
        self.classes = tuple(sorted(printable(name) for name in names))
        if len(self.classes) != len(names):
            raise DataError(
                f"class folders must have different names, got two that read the same in {uri}. "
                "Rename one."
            )
        self.splits = frozenset(split for _, split in located if split)
        self.notes = tuple(self._tell(visible))

    def pictures(self) -> Iterator[Picture]:
        labels = {name: label for label, name in enumerate(self.classes)}
        for path, size in self._files:
            name, split = self._locate(path)
            if self._flat:
                name = self.name
            label = None if name is None else labels[printable(name)]
            yield Picture(printable(path), label, split, self._loader(path, size))

    def _locate(self, path: str) -> tuple[str | None, str | None]:
        """Returns (class folder, split) of a file."""
        parts = path.split("/")
        split = SPLIT_NAMES[parts.pop(0).lower()] if self._has_splits else None
        return (parts[0] if len(parts) > 1 else None), split

    def _loader(self, path: str, size: int) -> Callable[[], bytes]:
        def load() -> bytes:
            # Before the file is read: a file of many gigabytes must not reach memory.
            if size > self._limits.max_file_bytes:
                raise BrokenPictureError(f"more than {self._limits.max_file_bytes} bytes")
            try:
                return storage.read_bytes(storage.join(self._uri, path))
            except StorageError as error:
                if storage.is_s3(self._uri):
                    raise
                raise BrokenPictureError("cannot be read") from error

        return load

    def _tell(self, visible: list[tuple[str, int]]) -> Iterator[str]:
        if self._flat:
            yield "The source has no class folders: all pictures are of one class."
        suffixes = Counter(
            PurePosixPath(printable(path)).suffix.lower() or "none"
            for path, _ in visible
            if not is_picture(path)
        )
        if suffixes:
            listed = ", ".join(f"{name} ({n})" for name, n in suffixes.most_common(5))
            more = ", and others" if len(suffixes) > 5 else ""
            yield f"Files that are no pictures, ignored: {listed}{more}."


def is_picture(path: str) -> bool:
    return path.lower().endswith(SUFFIXES)


def _hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


def _has_splits(paths: list[str]) -> bool:
    """True for train/<class>/..., val/<class>/...: split folders above the class folders."""
    tops = {path.split("/")[0].lower() if "/" in path else "" for path in paths}
    deep = all(path.count("/") >= 2 for path in paths)
    return bool(paths) and deep and "train" in tops and tops <= SPLIT_NAMES.keys()
