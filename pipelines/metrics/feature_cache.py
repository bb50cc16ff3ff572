"""Files that the metrics compute once and keep: exported networks and reference features.

Everything here can be computed again, so a damaged file is deleted and made anew.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nitrogen.platform.errors import StorageError


def cache_dir(directory: str | Path | None = None) -> Path:
    """The cache directory, created: `directory`, $NITROGEN_CACHE_DIR, or ~/.cache/nitrogen.

    Raises StorageError when it cannot be created.
    """
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    chosen = directory or os.environ.get("NITROGEN_CACHE_DIR") or Path(base) / "nitrogen"
    path = Path(chosen).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"cache directory must be writable, got {path} ({error.strerror}). "
            "Set NITROGEN_CACHE_DIR to a folder of yours."
        ) from error
    return path


def write_atomic(path: Path, write: Callable[[Path], None]) -> Path:
    """Call `write(temporary)` beside `path`, fsync, rename: no reader sees half a file."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".tmp")
    os.close(descriptor)
    temporary = Path(name)
    try:
        write(temporary)
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(
            f"cache file {path} could not be written ({error.strerror or error}). "
            "Free some disk space or set NITROGEN_CACHE_DIR."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def cached_features(
    key: str, compute: Callable[[], np.ndarray], directory: str | Path | None = None
) -> np.ndarray:
    """Features float32 [n, d] named by `key`, computed at most once on this machine.

    key names everything that they depend on: the network's fingerprint, the digest of the data
    set, split, image size and count. It becomes a file name, so it holds letters, digits, ._- only.
    """
    if not key or not all(char.isalnum() or char in "._-" for char in key):
        raise ValueError(f"key must hold letters, digits, dots and dashes only, got {key!r}.")
    path = cache_dir(directory) / f"features-{key}.npy"
    if path.exists():
        try:
            return np.load(path, allow_pickle=False)
        except (ValueError, EOFError, OSError):
            path.unlink(missing_ok=True)
    features = np.ascontiguousarray(compute(), dtype=np.float32)

    def save(temporary: Path) -> None:
        with open(temporary, "wb") as stream:
            np.save(stream, features, allow_pickle=False)

    write_atomic(path, save)
    return features
