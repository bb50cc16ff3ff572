"""What a sweep has done, as JSON lines: enough to go on after a kill, with nothing unpickled."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from nitrogen.platform import storage
from nitrogen.platform.errors import StorageError

JOURNAL_NAME = "trials.jsonl"
State = Literal["COMPLETE", "PRUNED", "FAIL"]


@dataclass(frozen=True)
class Trial:
    """One finished trial; `metrics` are its last ones, `error` says why it failed."""

    index: int
    config: dict[str, Any]
    metrics: dict[str, Any] = field(default_factory=dict)
    state: State = "COMPLETE"
    seconds: float = 0.0
    error: str | None = None


class SweepJournal:
    """Started and finished trials of the sweep in `folder` (a path, or s3://bucket/prefix)."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._uri = storage.join(folder, JOURNAL_NAME)
        self.started: dict[int, dict[str, Any]] = {}
        self.finished: dict[int, Trial] = {}
        self._lines = self._read()

    def start(self, index: int, config: dict[str, Any]) -> None:
        """Note that a trial begins with this config."""
        self.started[index] = config
        self._append({"event": "started", "index": index, "config": config})

    def finish(self, trial: Trial) -> None:
        """Note a trial's end; it will not run again."""
        self.finished[trial.index] = trial
        self._append({"event": "finished", **asdict(trial)})

    def interrupted(self) -> dict[int, dict[str, Any]]:
        """Configs of the trials that began and did not end, by index."""
        return {i: c for i, c in sorted(self.started.items()) if i not in self.finished}

    def trial_folder(self, index: int, config: dict[str, Any]) -> str:
        """A folder of the trial's own; the same after a resume, another for another config."""
        digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:8]
        return storage.join(self.folder, "trials", f"{index:04d}-{digest}")

    def _read(self) -> list[str]:
        if not storage.exists(self._uri):
            return []
        lines = []
        for line in storage.read_bytes(self._uri).decode().splitlines():
            try:
                entry = json.loads(line)
                kind = entry.pop("event")
                if kind == "started":
                    self.started[entry["index"]] = entry["config"]
                else:
                    self.finished[entry["index"]] = Trial(**entry)
            except (ValueError, KeyError, TypeError) as error:
                raise StorageError(
                    f"{self._uri} must be the journal of a sweep, got the line {line[:60]!r}. "
                    "Give the sweep another name or folder."
                ) from error
            lines.append(line)
        return lines

    def _append(self, entry: dict[str, Any]) -> None:
        """Rewrite the file atomically: it is small, and object stores cannot append."""
        self._lines.append(json.dumps(entry))
        storage.write_bytes(self._uri, ("\n".join(self._lines) + "\n").encode())
