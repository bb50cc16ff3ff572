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
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nitrogen.platform.bundle_files import (
    MANIFEST,
    MAX_FILES,
    MAX_JSON_BYTES,
    altered,
    check_entry,
    check_name,
    describe_file,
    list_names,
    parse_json,
    read_regular,
)
from nitrogen.platform.errors import BundleError


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
    names = [name for name in list_names(directory) if name != MANIFEST]
    if not names:
        raise BundleError(
            f"bundle {directory.name} must hold at least one file, got none. Save the model first."
        )
    files = {name: describe_file(directory, name) for name in sorted(names)}
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
    present = set(list_names(directory)) - {MANIFEST}
    for name in sorted(set(manifest.files) - present):
        raise BundleError(altered(name, "is missing"))
    for name in sorted(present - set(manifest.files)):
        raise BundleError(altered(name, "is not in the manifest"))
    for name, entry in manifest.files.items():
        found = describe_file(directory, name, max_bytes=entry["bytes"])
        if found != entry:
            raise BundleError(altered(name, "does not match its sha256 in the manifest"))
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
        data = read_regular(directory, MANIFEST, MAX_JSON_BYTES)
    except FileNotFoundError:
        raise BundleError(
            f"bundle {directory.name} must hold {MANIFEST}, which is written last. "
            "The bundle is incomplete; write or download it again."
        ) from None
    body = parse_json(MANIFEST, data)
    if not isinstance(body, dict) or body.get("version") != 1:
        raise BundleError(altered(MANIFEST, "is not a manifest of version 1"))
    digest = body.pop("digest", None)
    if set(body) != {"version", "files", "metadata"} or digest != _digest(body):
        raise BundleError(altered(MANIFEST, "does not match its own digest"))
    files = body["files"]
    if not isinstance(files, dict) or not 1 <= len(files) <= MAX_FILES:
        raise BundleError(altered(MANIFEST, f"must list 1 to {MAX_FILES} files"))
    for name, entry in files.items():
        check_name(name)
        check_entry(name, entry)
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
