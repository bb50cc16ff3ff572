"""Puts a Ray Train run folder in order after a kill, before Ray looks at it.

Ray rewrites its list of checkpoints in place. A kill in the middle leaves half a JSON file, or a
list with a checkpoint that is half deleted; Ray then refuses the whole run. The checkpoints
themselves say whether they are complete (their note), so the list can be made again.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from nitrogen.platform.training_checkpoints import NOTE_NAME
from nitrogen.platform.training_journal import read_events, write_events

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

SNAPSHOT_NAME = "checkpoint_manager_snapshot.json"
PREFIX = "checkpoint_"

logger = logging.getLogger(__name__)


def repair_run(store: FileSystem, run: str) -> str:
    """Make the run at `run` resumable; returns "new", "sound" or "mended".

    Checkpoints that are incomplete or that no list names are removed.
    """
    found = _checkpoints(store, run)
    if not found and _read(store, f"{run}/{SNAPSHOT_NAME}") is None:
        return "new"
    complete = {name: note for name, note in found.items() if note is not None}
    listed = _listed(store, run)
    if listed is not None and all(name in complete for name in listed):
        _remove(store, run, set(found) - set(listed))
        return "sound"
    _write_snapshot(store, run, complete)
    _remove(store, run, set(found) - set(complete))
    logger.warning("the run %s was cut off while it was writing; %d checkpoints are complete",
                   run, len(complete))  # fmt: skip
    return "mended"


def mend_journal(store: FileSystem, run: str, journal: Path) -> None:
    """Make the journal on this machine reach the run's newest checkpoint.

    It is fetched from a remote storage when it is not here. Ray registers a checkpoint before it
    calls the callback that writes the journal; what a kill in between left out is in the notes.
    """
    if not journal.exists() and (data := _read(store, f"{run}/{journal.name}")) is not None:
        journal.parent.mkdir(parents=True, exist_ok=True)
        journal.write_bytes(data)
    notes = [note for note in _checkpoints(store, run).values() if note is not None]
    newest = max((note["report"] for note in notes), default=0)
    events = {event["report"]: event for event in read_events(journal)}
    known = {event["report"]: event for note in notes for event in note["events"]}
    whole = {report: event for report, event in {**known, **events}.items() if report <= newest}
    if set(whole) != set(events):
        write_events(journal, [whole[report] for report in sorted(whole)])


def _listed(store: FileSystem, run: str) -> list[str] | None:
    """Checkpoints that Ray's list names; None for no list or a damaged one."""
    data = _read(store, f"{run}/{SNAPSHOT_NAME}")
    try:
        state: dict[str, Any] = json.loads(data or b"")
        latest = state["latest_checkpoint_result"]
        names = [result["checkpoint_dir_name"] for result in state["checkpoint_results"]]
        return names if latest is None or latest["checkpoint_dir_name"] in names else None
    except (ValueError, KeyError, TypeError):
        return None


def _checkpoints(store: FileSystem, run: str) -> dict[str, dict[str, Any] | None]:
    """Checkpoint folders by name, in order, with their note; None where one is incomplete."""
    from pyarrow.fs import FileSelector, FileType

    entries = store.get_file_info(FileSelector(run, allow_not_found=True))
    names = sorted(
        PurePosixPath(entry.path).name
        for entry in entries
        if entry.type == FileType.Directory and PurePosixPath(entry.path).name.startswith(PREFIX)
    )
    return {name: _complete_note(store, f"{run}/{name}") for name in names}


def _complete_note(store: FileSystem, folder: str) -> dict[str, Any] | None:
    data = _read(store, f"{folder}/{NOTE_NAME}")
    try:
        note: dict[str, Any] = json.loads(data or b"")
        infos = store.get_file_info([f"{folder}/{name}" for name in note["files"]])
        sizes = list(note["files"].values())
        if not {"events", "report", "metrics"} <= set(note):
            return None
        return note if [info.size for info in infos] == sizes else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _write_snapshot(store: FileSystem, run: str, complete: dict[str, dict[str, Any]]) -> None:
    """Ray's list of checkpoints (its `_CheckpointManagerState`), made from the notes."""
    import ray

    ordered = sorted(complete.items(), key=lambda item: item[1]["report"])
    results = [
        {"version": 0, "checkpoint_dir_name": name, "metrics": note["metrics"]}
        for name, note in ordered
    ]
    state = {
        "ray_version": ray.__version__,
        "checkpoint_results": results,
        "checkpoint_report_indices": [note["report"] - 1 for _, note in ordered],
        "latest_checkpoint_result": results[-1] if results else None,
        "pending_training_results": [],
        "pending_validation_specs": [],
        "current_report_index": ordered[-1][1]["report"] if ordered else 0,
        "validated_checkpoint_dir_names": [],
        "timed_out_validation_checkpoint_dir_names": [],
        "failed_validation_checkpoint_dir_names": [],
    }
    _replace(store, f"{run}/{SNAPSHOT_NAME}", json.dumps(state).encode())


def _replace(store: FileSystem, path: str, data: bytes) -> None:
    """Write a file whole: a rename locally; object stores show an object only when it is whole."""
    from pyarrow.fs import LocalFileSystem

    if isinstance(store, LocalFileSystem):
        temporary = Path(f"{path}.{os.getpid()}")
        temporary.write_bytes(data)
        temporary.replace(path)
        return
    with store.open_output_stream(path) as stream:
        stream.write(data)


def _read(store: FileSystem, path: str) -> bytes | None:
    try:
        with store.open_input_stream(path) as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def _remove(store: FileSystem, run: str, names: set[str]) -> None:
    for name in sorted(names):
        store.delete_dir(f"{run}/{name}")
