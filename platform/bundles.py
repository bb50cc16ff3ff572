"""Model bundles: a flat directory of safetensors and JSON files with a hash manifest.

A bundle is the only form in which weights are registered, downloaded and served. It never holds a
pickle or code, so reading one cannot run anything. `manifest.json` is written last: a directory
without it is not a bundle.

    manifest.json  {"version": 1, "files": {name: {"sha256", "bytes"}}, "metadata": {}, "digest"}

The digest covers everything else in the manifest, hence every byte of every file.
"""

import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nitrogen.platform.errors import BundleError

MANIFEST = "manifest.json"
ALLOWED_SUFFIXES = (".safetensors", ".json")
MAX_FILES = 64
MAX_FILE_BYTES = 16 << 30
MAX_JSON_BYTES = 16 << 20
MAX_SAFETENSORS_HEADER_BYTES = 64 << 20

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Manifest:
    """The parsed manifest; `files` maps a name to {"sha256": hex, "bytes": int}."""

    files: dict[str, dict[str, Any]]
    metadata: dict[str, Any]
    digest: str


def write_bundle(directory: Path | str, metadata: Mapping[str, Any] | None = None) -> str:
    """Seal the files of `directory` with a manifest, written last and atomically.

    Args:
        directory: a flat directory of *.safetensors and *.json files.
        metadata: JSON-able facts about the origin (recipe, run, commit). It is covered by the
            digest: leave times out of it if equal weights shall have equal digests.

    Returns: the digest (64 hex digits).
    Raises: BundleError naming the file that may not be in a bundle.
    """
    directory = Path(directory)
    for leftover in directory.glob(f".{MANIFEST}.*"):  # of a writer that was killed
        leftover.unlink()
    names = [name for name in _list_names(directory) if name != MANIFEST]
    if not names:
        raise BundleError(
            f"bundle {directory.name} must hold at least one file, got none. Save the model first."
        )
    files = {name: _describe(directory, name) for name in sorted(names)}
    body = {"version": 1, "files": files, "metadata": dict(metadata or {})}
    digest = _digest(body)
    data = json.dumps({**body, "digest": digest}, indent=1, sort_keys=True).encode()
    _write_atomically(directory / MANIFEST, data)
    return digest


def verify_bundle(directory: Path | str, expected_digest: str | None = None) -> str:
    """Check every file of a bundle against its manifest and return the digest.

    Refuses missing, extra, altered, oversize and linked files, names that leave the directory,
    other suffixes, and safetensors or JSON files that are not what their suffix says.

    Raises: BundleError naming the file.
    """
    directory = Path(directory)
    manifest = read_manifest(directory)
    present = set(_list_names(directory)) - {MANIFEST}
    for name in sorted(set(manifest.files) - present):
        raise BundleError(_altered(name, "is missing"))
    for name in sorted(present - set(manifest.files)):
        raise BundleError(_altered(name, "is not in the manifest"))
    for name, entry in manifest.files.items():
        found = _describe(directory, name, max_bytes=entry["bytes"])
        if found != entry:
            raise BundleError(_altered(name, "does not match its sha256 in the manifest"))
    if expected_digest is not None and manifest.digest != expected_digest:
        raise BundleError(
            f"bundle digest must be {expected_digest[:12]}, got {manifest.digest[:12]}. "
            "The bundle is not the one that was registered; fetch it again from the registry."
        )
    return manifest.digest


def read_manifest(directory: Path | str) -> Manifest:
    """Parse the manifest and check that its digest is the one of its contents.

    The files themselves are not read. Raises: BundleError.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise BundleError(f"bundle {directory} must be a directory. Name a promoted version.")
    try:
        data = _read_regular(directory, MANIFEST, MAX_JSON_BYTES)
    except FileNotFoundError:
        raise BundleError(
            f"bundle {directory.name} must hold {MANIFEST}, which is written last. "
            "The bundle is incomplete; write or download it again."
        ) from None
    body = _parse_json(MANIFEST, data)
    if not isinstance(body, dict) or body.get("version") != 1:
        raise BundleError(_altered(MANIFEST, "is not a manifest of version 1"))
    digest = body.pop("digest", None)
    if set(body) != {"version", "files", "metadata"} or digest != _digest(body):
        raise BundleError(_altered(MANIFEST, "does not match its own digest"))
    files = body["files"]
    if not isinstance(files, dict) or not 1 <= len(files) <= MAX_FILES:
        raise BundleError(_altered(MANIFEST, f"must list 1 to {MAX_FILES} files"))
    for name, entry in files.items():
        _check_name(name)
        _check_entry(name, entry)
    return Manifest(files=files, metadata=body["metadata"], digest=digest)


def copy_bundle(source: Path | str, out: Path | str, expected_digest: str | None = None) -> Path:
    """Copy a verified bundle to the directory `out`, whole or not at all; returns `out`.

    Only the files of the manifest travel. An `out` that already verifies is kept.
    """
    source, out = Path(source), Path(out)
    digest = verify_bundle(source, expected_digest)
    if out.exists():
        try:
            verify_bundle(out, digest)
            return out
        except BundleError:
            shutil.rmtree(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        for name in [*read_manifest(source).files, MANIFEST]:
            shutil.copyfile(source / name, staging / name, follow_symlinks=False)
        verify_bundle(staging, digest)
        publish_directory(staging, out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return out


def publish_directory(staging: Path, out: Path) -> None:
    """Rename a finished directory into place; a rival that came first with it wins."""
    for path in staging.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    try:
        os.rename(staging, out)
    except OSError:
        if not (out / MANIFEST).is_file():
            raise
    _fsync_directory(out.parent)


def _list_names(directory: Path) -> list[str]:
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
        _check_name(entry.name)
        names.append(entry.name)
    return names


def _check_name(name: str) -> None:
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


def _check_entry(name: str, entry: object) -> None:
    good = (
        isinstance(entry, dict)
        and set(entry) == {"sha256", "bytes"}
        and isinstance(entry["sha256"], str)
        and _SHA256.fullmatch(entry["sha256"])
        and type(entry["bytes"]) is int
        and 0 <= entry["bytes"] <= MAX_FILE_BYTES
    )
    if not good:
        raise BundleError(_altered(MANIFEST, f"has no valid entry for {name!r}"))


def _describe(directory: Path, name: str, max_bytes: int = MAX_FILE_BYTES) -> dict[str, Any]:
    """sha256 and size of one file, after checking that it is what its suffix says."""
    limit = min(max_bytes, MAX_JSON_BYTES) if name.endswith(".json") else max_bytes
    with _open_regular(directory, name, limit) as file:
        if name.endswith(".json"):
            data = file.read(limit + 1)
            _parse_json(name, data)
            return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        _check_safetensors(name, file, os.fstat(file.fileno()).st_size)
        file.seek(0)
        sha256, size = hashlib.sha256(), 0
        while block := file.read(_BLOCK_BYTES):
            sha256.update(block)
            size += len(block)
    return {"sha256": sha256.hexdigest(), "bytes": size}


def _open_regular(directory: Path, name: str, limit: int):
    # O_NOFOLLOW: the entry may have been swapped for a link since it was listed.
    try:
        descriptor = os.open(directory / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BundleError(_altered(name, f"cannot be read ({error.strerror})")) from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
        os.close(descriptor)
        raise BundleError(_altered(name, f"is larger than the {limit} bytes allowed for it"))
    return os.fdopen(descriptor, "rb")


def _read_regular(directory: Path, name: str, limit: int) -> bytes:
    with _open_regular(directory, name, limit) as file:
        return file.read(limit + 1)


def _check_safetensors(name: str, file, size: int) -> None:
    """Header length and JSON, tensors inside the file and not overlapping (without torch)."""
    length = int.from_bytes(file.read(8), "little")
    if size < 10 or not 2 <= length <= min(size - 8, MAX_SAFETENSORS_HEADER_BYTES):
        raise BundleError(_altered(name, "is not a safetensors file"))
    header = _parse_json(name, file.read(length))
    if not isinstance(header, dict):
        raise BundleError(_altered(name, "is not a safetensors file"))
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
        raise BundleError(_altered(name, "has tensors outside of the file")) from None


def _parse_json(name: str, data: bytes) -> Any:
    def refuse(constant: str):
        raise ValueError(constant)

    try:
        return json.loads(data, parse_constant=refuse)
    except (ValueError, RecursionError):
        raise BundleError(_altered(name, "is not valid JSON")) from None


def _altered(name: str, problem: str) -> str:
    return (
        f"bundle file {name!r} {problem}. "
        "The bundle is damaged or was altered; write or download it again."
    )


def _digest(body: Mapping[str, Any]) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _write_atomically(path: Path, data: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _fsync_directory(path.parent)


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
