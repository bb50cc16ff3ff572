"""What could not be sent to MLflow, on disk until it can: one file of JSON lines a run."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Spool:
    """Entries that wait, in order; files they name are copied, since the caller may remove his."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def append(self, run_id: str, entry: dict[str, Any]) -> None:
        """Keep one entry behind the others of its run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if entry["op"] == "artifact":
            entry = {**entry, "path": str(self._copy(run_id, Path(entry["path"])))}
        with self._locked(run_id), self._path(run_id).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def entries(self, run_id: str) -> list[dict[str, Any]]:
        """The entries that wait for a run, oldest first."""
        entries = []
        with contextlib.suppress(FileNotFoundError):
            for line in self._path(run_id).read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError):  # half a line of a killed writer
                    entries.append(json.loads(line))
        return entries

    def drop(self, run_id: str, count: int) -> None:
        """Remove the first `count` entries, with the copies of their files."""
        if count == 0:
            return
        with self._locked(run_id):
            entries = self.entries(run_id)
            for entry in entries[:count]:
                if entry["op"] == "artifact":
                    shutil.rmtree(Path(entry["path"]).parent, ignore_errors=True)
            self._replace(run_id, entries[count:])

    def run_ids(self) -> list[str]:
        """Runs for which something waits."""
        return sorted(path.stem for path in self.folder.glob("*.jsonl"))

    def keep(self, run_id: str, name: str, data: bytes) -> Path:
        """Write bytes to a file of this name in a folder of its own and return it."""
        path = self._new_folder(run_id) / name
        path.write_bytes(data)
        return path

    def _copy(self, run_id: str, source: Path) -> Path:
        target = self._new_folder(run_id) / source.name
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy2(source, target)
        return target

    def _new_folder(self, run_id: str) -> Path:
        folder = self.folder / f"{run_id}-files" / uuid.uuid4().hex[:12]
        folder.mkdir(parents=True)
        return folder

    def _replace(self, run_id: str, entries: list[dict[str, Any]]) -> None:
        path = self._path(run_id)
        if not entries:
            path.unlink(missing_ok=True)
            shutil.rmtree(self.folder / f"{run_id}-files", ignore_errors=True)
            return
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        temporary.replace(path)

    def _path(self, run_id: str) -> Path:
        return self.folder / f"{run_id}.jsonl"

    @contextlib.contextmanager
    def _locked(self, run_id: str) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / f".{run_id}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
