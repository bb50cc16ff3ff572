"""The files that a step's result names: their hashes when it ends, and whether they still fit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

OWN_FILES = frozenset(("key.json", "result.json", "_SUCCESS.json"))  # the runner's, in each step

# Files up to this size are hashed again whenever a result is reused; of larger ones the size is
# compared, so that a cached run of gigabytes still answers at once.
_REHASH_BYTES = 16 * 2**20


def describe_artefacts(directory: Path, result: Any) -> dict[str, dict[str, Any]]:
    """sha256 and bytes of the files inside `directory` that the result names, directly or by their
    folder; by their paths relative to it."""
    return {
        str(path.relative_to(directory)): {"sha256": _sha256(path), "bytes": path.stat().st_size}
        for path in _named_files(directory, result)
    }


def first_altered(directory: Path, known: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Which file no longer is as it was described, and how; None when all are."""
    for name, description in known.items():
        problem = _altered(directory / name, description)
        if problem:
            return f"{name} {problem}"
    return None


def _named_files(directory: Path, result: Any) -> list[Path]:
    found: set[Path] = set()
    for text in _strings(result):
        if not text or len(text) > 4096 or "\n" in text or "\0" in text:
            continue
        path = directory / text
        if path == directory or not path.is_relative_to(directory) or ".." in path.parts:
            continue
        if path.is_file():
            found.add(path)
        elif path.is_dir():
            found.update(inner for inner in path.rglob("*") if inner.is_file())
    return sorted(path for path in found if path.relative_to(directory).name not in OWN_FILES)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)


def _altered(path: Path, known: Mapping[str, Any]) -> str | None:
    try:
        size = path.stat().st_size
    except OSError:
        return "is missing"
    if size != known["bytes"]:
        return f"has {size} bytes instead of {known['bytes']}"
    if size <= _REHASH_BYTES and _sha256(path) != known["sha256"]:
        return "was altered"
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
