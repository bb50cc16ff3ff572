"""Checkpoint directories that are complete or absent, whatever kills the process.

A checkpoint is copied under a temporary name beside its final place, flushed to disk and renamed.
The note that is written into it lists its files with their sizes, so that a directory that was
damaged later (full disk, half a copy by hand) is passed over for the one before it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nitrogen.platform.errors import TrainingError

NOTE_NAME = "_report.json"
PREFIX = "checkpoint-"
INCOMING = ".incoming-"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CheckpointNote:
    """What the session knows about a checkpoint: its report's number (from 1) and metrics."""

    report: int
    metrics: dict[str, float]


def write_note(
    directory: Path,
    report: int,
    metrics: dict[str, float],
    events: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write the note into `directory`, listing every file that is there now.

    `events` are those of the journal since the last checkpoint, for a session whose journal is
    written elsewhere and may be cut off behind a checkpoint.
    """
    files = {
        str(path.relative_to(directory)): path.stat().st_size
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != NOTE_NAME
    }
    note: dict[str, Any] = {"version": 1, "report": report, "metrics": metrics, "files": files}
    note["events"] = list(events)
    (directory / NOTE_NAME).write_text(json.dumps(note), encoding="utf-8")


def read_note(directory: Path) -> CheckpointNote | None:
    """The note of a complete checkpoint, or None where the note or one of its files is wrong."""
    try:
        note: dict[str, Any] = json.loads((directory / NOTE_NAME).read_text(encoding="utf-8"))
        complete = all(
            (directory / name).stat().st_size == size for name, size in note["files"].items()
        )
        return CheckpointNote(int(note["report"]), dict(note["metrics"])) if complete else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def save_checkpoint(
    root: Path, source: Path, report: int, metrics: dict[str, float], keep: int = 2
) -> Path:
    """Copy `source` to `root/checkpoint-<report>` atomically, keep the last `keep`, return it.

    Raises TrainingError when the source is not a directory or the disk refuses the copy.
    """
    if not source.is_dir():
        raise TrainingError(
            f"checkpoint must be a directory, got {source}. Write the files into a directory "
            "and report that."
        )
    final = root / f"{PREFIX}{report:08d}"
    incoming = root / f"{INCOMING}{final.name}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(incoming, ignore_errors=True)
        shutil.copytree(source, incoming)
        write_note(incoming, report, metrics)
        _flush_tree(incoming)
        # Only a directory that no reader would choose (it failed its own note) can be in the way.
        shutil.rmtree(final, ignore_errors=True)
        incoming.rename(final)
        _flush(root)
    except OSError as error:
        shutil.rmtree(incoming, ignore_errors=True)
        raise TrainingError(
            f"checkpoint {final} could not be written ({_reason(error)}). "
            "Free disk space or choose another run folder, then run again: it resumes."
        ) from error
    for old in complete_checkpoints(root)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def _reason(error: OSError) -> str:
    """What the system said, in its own few words; `copytree` says it once for each file."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        found = re.search(r"\[Errno \d+\] ([^:]+)", str(error.args[0][0][-1]))
        return found[1] if found else "the copy failed"
    return error.strerror or str(error)


def complete_checkpoints(root: Path) -> list[Path]:
    """All complete checkpoints under `root`, oldest first."""
    found = sorted(root.glob(f"{PREFIX}*")) if root.is_dir() else []
    return [path for path in found if path.is_dir() and read_note(path) is not None]


def newest_checkpoint(root: Path) -> Path | None:
    """The newest complete checkpoint, or None; says so when a newer damaged one is passed over."""
    complete = complete_checkpoints(root)
    newest = complete[-1] if complete else None
    if root.is_dir():
        for path in root.glob(f"{PREFIX}*"):
            if newest is None or path.name > newest.name:
                logger.warning("checkpoint %s is incomplete and is passed over", path)
    return newest


def discard_incoming(root: Path) -> None:
    """Remove what a killed process left half copied."""
    if root.is_dir():
        for path in root.glob(f"{INCOMING}*"):
            shutil.rmtree(path, ignore_errors=True)


def _flush_tree(directory: Path) -> None:
    for path in sorted(directory.rglob("*")):
        _flush(path)
    _flush(directory)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems cannot sync a directory
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
