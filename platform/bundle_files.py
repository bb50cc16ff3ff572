"""The files of a bundle: plain names, allowed suffixes, no links, and contents that match them.

Nothing here is trusted: a name may try to leave the directory, a "safetensors" file may be a
pickle, an entry may be swapped for a link between two looks.
"""

import hashlib
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

from nitrogen.platform.errors import BundleError

MANIFEST = "manifest.json"
POINT = "operating_point.json"  # how the model was measured; what no request names is served so
ALLOWED_SUFFIXES = (".safetensors", ".json")
MAX_FILES = 64
MAX_FILE_BYTES = 16 << 30
MAX_JSON_BYTES = 16 << 20
MAX_SAFETENSORS_HEADER_BYTES = 64 << 20

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOCK_BYTES = 1 << 20


def list_names(directory: Path) -> list[str]:
    names = []
    try:
        entries = list(os.scandir(directory))
    except OSError as error:
        raise BundleError(f"bundle {directory} must be readable: {error.strerror}.") from None
    if len(entries) > MAX_FILES:
        raise BundleError(
            f"bundle {directory.name} must hold at most {MAX_FILES} files, got {len(entries)}. "
            "Keep the weights and their JSON only."
        )
    for entry in entries:
        if entry.is_symlink() or not entry.is_file(follow_symlinks=False):
            raise BundleError(
                f"bundle file {entry.name!r} must be a regular file, not a link or a folder. "
                "Copy the file itself into the bundle."
            )
        check_name(entry.name)
        names.append(entry.name)
    return names


def check_name(name: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BundleError(
            f"bundle file name must be plain letters, digits, '.', '_' or '-', got {name!r}. "
            "Do not load this bundle; fetch it again from a source that you trust."
        )
    if not name.endswith(ALLOWED_SUFFIXES):
        raise BundleError(
            f"bundle file {name!r} must end in .safetensors or .json. "
            "Pickles, code and other files are never loaded; remove it."
        )


def check_entry(name: str, entry: object) -> None:
    good = (
        isinstance(entry, dict)
        and set(entry) == {"sha256", "bytes"}
        and isinstance(entry["sha256"], str)
        and _SHA256.fullmatch(entry["sha256"])
        and type(entry["bytes"]) is int
        and 0 <= entry["bytes"] <= MAX_FILE_BYTES
    )
    if not good:
        raise BundleError(altered(MANIFEST, f"has no valid entry for {name!r}"))


def describe_file(directory: Path, name: str, max_bytes: int = MAX_FILE_BYTES) -> dict[str, Any]:
    """sha256 and size of one file, after checking that it is what its suffix says."""
    limit = min(max_bytes, MAX_JSON_BYTES) if name.endswith(".json") else max_bytes
    with _open_regular(directory, name, limit) as file:
        if name.endswith(".json"):
            data = file.read(limit + 1)
            parse_json(name, data)
            return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        _check_safetensors(name, file, os.fstat(file.fileno()).st_size)
        file.seek(0)
        sha256, size = hashlib.sha256(), 0
        while block := file.read(_BLOCK_BYTES):
            sha256.update(block)
            size += len(block)
    return {"sha256": sha256.hexdigest(), "bytes": size}


def _open_regular(directory: Path, name: str, limit: int):
    # The entry may have been swapped for a link or a pipe since it was listed.
    try:
        descriptor = os.open(
            directory / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        )
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BundleError(altered(name, f"cannot be read ({error.strerror})")) from None
    status = os.fstat(descriptor)
    problem = None
    if not stat.S_ISREG(status.st_mode):
        problem = "is not a regular file"
    elif status.st_size > limit:
        problem = f"is larger than the {limit} bytes allowed for it"
    if problem is not None:
        os.close(descriptor)
        raise BundleError(altered(name, problem))
    return os.fdopen(descriptor, "rb")


def read_regular(directory: Path, name: str, limit: int) -> bytes:
    with _open_regular(directory, name, limit) as file:
        return file.read(limit + 1)


def _check_safetensors(name: str, file, size: int) -> None:
    """Header length and JSON, tensors inside the file and not overlapping (without torch)."""
    length = int.from_bytes(file.read(8), "little")
    if size < 10 or not 2 <= length <= min(size - 8, MAX_SAFETENSORS_HEADER_BYTES):
        raise BundleError(altered(name, "is not a safetensors file"))
    header = parse_json(name, file.read(length))
    if not isinstance(header, dict):
        raise BundleError(altered(name, "is not a safetensors file"))
    try:
        spans = sorted(
            tuple(entry["data_offsets"]) for key, entry in header.items() if key != "__metadata__"
        )
        end = 0
        for begin, stop in spans:
            if begin != end or stop < begin:
                raise ValueError
            end = stop
        if end != size - 8 - length:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise BundleError(altered(name, "has tensors outside of the file")) from None


def parse_json(name: str, data: bytes) -> Any:
    def refuse(constant: str):
        raise ValueError(constant)

    try:
        return json.loads(data, parse_constant=refuse)
    except (ValueError, RecursionError):
        raise BundleError(altered(name, "is not valid JSON")) from None


def altered(name: str, problem: str) -> str:
    return (
        f"bundle file {name!r} {problem}. "
        "The bundle is damaged or was altered; write or download it again."
    )
