"""JSON files that are either the old content or the new one, never half of it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nitrogen.platform.storage_local import whole


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Write `value` beside `path` and rename it there; durable: fsync before the rename."""
    text = json.dumps(jsonable(value), indent=2, allow_nan=False) + "\n"
    with whole(path, durable=durable) as file:
        file.write(text.encode())


def read_json(path: Path) -> Any:
    """The file's value; None when it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def jsonable(value: Any) -> Any:
    """`value` with paths as text, arrays as lists, and NaN and infinities as null.

    Raises TypeError for a value that has no JSON form.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, os.PathLike) and not isinstance(value, Mapping):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): jsonable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(inner) for inner in value]
    if hasattr(value, "tolist"):  # numpy and torch, without importing them
        return jsonable(value.tolist())
    if hasattr(value, "model_dump"):
        return jsonable(value.model_dump(mode="json"))
    raise TypeError(f"a step's result must be JSON values, got a {type(value).__name__}")
