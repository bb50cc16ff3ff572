"""The run folder: one directory a step and key, with its result and, last, its success marker.

DIR/run.json                     identity of the folder
DIR/recipe.json                  the resolved recipe of the last run
DIR/steps/<step>-<key12>/        what the step wrote, and
    key.json                     the parts of its key, written before it starts
    result.json                  what it returned; paths inside DIR as ${RUN}/...
    _SUCCESS.json                written last: artefacts with sha256 and size, seconds, lineage
DIR/journal.jsonl                events, for `nitrogen status`
DIR/run.log                      what the run said, for `nitrogen logs`
DIR/summary.json                 the outcome of the last run
"""

from __future__ import annotations

import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nitrogen.pipelines.artefacts import OWN_FILES, describe_artefacts, first_altered
from nitrogen.pipelines.atomic_json import jsonable, read_json, write_json
from nitrogen.pipelines.context import StepOutput
from nitrogen.platform.errors import StorageError

SUCCESS = "_SUCCESS.json"
_RUN = "${RUN}"
_HALF_WRITTEN = (".*.json.????????", ".*.tmp")  # of write_json and of write_atomic


@dataclass(frozen=True)
class StepRecord:
    """A finished step: its directory, result and marker."""

    dir: Path
    result: dict[str, Any]
    marker: dict[str, Any]

    @property
    def key(self) -> str:
        return self.marker["key"]

    @property
    def seconds(self) -> float:
        return float(self.marker.get("seconds", 0.0))

    @property
    def input_digest(self) -> str:
        """What later steps put into their keys for this one."""
        return self.marker["input_digest"]

    def parts(self) -> dict[str, Any]:
        """The parts of its key."""
        known = read_json(self.dir / "key.json")
        return known.get("parts", {}) if isinstance(known, dict) else {}

    def output(self) -> StepOutput:
        return StepOutput(self.dir, self.result, self.key)


class RunFolder:
    """Paths and records of one run folder; creates it where it is missing."""

    def __init__(self, root: Path) -> None:
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(root)):
            raise StorageError(
                f"a run folder must be a local path or s3://bucket/run, got {root}. "
                "Give one of these."
            )
        self.root = Path(root).expanduser().absolute()
        self.steps = self.root / "steps"
        self.lock_path = self.root / ".lock"
        self.journal_path = self.root / "journal.jsonl"
        self.summary_path = self.root / "summary.json"
        self.log_path = self.root / "run.log"
        self.progress_path = self.root / "progress.json"

    def create(self) -> None:
        """Make the folder; StorageError when that is impossible."""
        try:
            self.steps.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise StorageError(
                f"--out must be a folder that can be written, got {self.root} ({exc.strerror}). "
                "Choose another folder."
            ) from exc

    def remove_leftovers(self) -> None:
        """Remove what a killed run was writing beside its place; call under the folder's lock."""
        for folder in (self.root, *(path for path in self.steps.iterdir() if path.is_dir())):
            for pattern in _HALF_WRITTEN:
                for path in folder.glob(pattern):
                    path.unlink(missing_ok=True)

    def identity(self) -> str:
        """A random name of this folder, made once; it keeps two folders apart on one server."""
        known = read_json(self.root / "run.json")
        if isinstance(known, dict) and known.get("id"):
            return known["id"]
        record = {"version": 1, "id": uuid.uuid4().hex, "created": time.time()}
        write_json(self.root / "run.json", record)
        return str(record["id"])

    def step_dir(self, step: str, key: str) -> Path:
        return self.steps / f"{step}-{key[:12]}"

    def begin(self, step: str, key: str, parts: Mapping[str, Any]) -> tuple[Path, str]:
        """Open the step's directory, new or as a killed run left it.

        Returns the directory and the name of this attempt, which a resumed step keeps.
        """
        directory = self.step_dir(step, key)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / SUCCESS).unlink(missing_ok=True)
        known = read_json(directory / "key.json")
        attempt = known.get("attempt") if isinstance(known, dict) else None
        attempt = attempt or uuid.uuid4().hex[:8]
        record = {"key": key, "attempt": attempt, "started": time.time(), "parts": parts}
        write_json(directory / "key.json", record)
        return directory, attempt

    def set_aside(self, step: str, key: str) -> None:
        """Move a step's directory away so that it starts from nothing; one older copy is kept."""
        directory = self.step_dir(step, key)
        if directory.exists():
            previous = directory.with_name(directory.name + ".previous")
            shutil.rmtree(previous, ignore_errors=True)
            directory.rename(previous)

    def finish(
        self,
        step: str,
        key: str,
        result: Mapping[str, Any],
        *,
        seconds: float,
        digest_field: str | None = None,
        lineage: Mapping[str, Any] | None = None,
        input_digest: str | None = None,
    ) -> StepRecord:
        """Store the result, then the marker. Returns the record."""
        directory = self.step_dir(step, key)
        plain = jsonable(result)
        write_json(directory / "result.json", self._relative(plain))
        named = plain.get(digest_field) if digest_field else None
        marker = {
            "version": 1,
            "step": step,
            "key": key,
            "seconds": round(seconds, 3),
            "finished": time.time(),
            "input_digest": input_digest or named or key,
            "artefacts": describe_artefacts(directory, plain),
            "lineage": dict(lineage or {}),
        }
        write_json(directory / SUCCESS, marker)
        return StepRecord(directory, plain, marker)

    def adopt(
        self, older: StepRecord, step: str, key: str, parts: Mapping[str, Any], changed: list[str]
    ) -> StepRecord:
        """Copy an older result under a new key, and say so in its lineage."""
        directory = self.step_dir(step, key)
        arriving = directory.with_name(directory.name + ".arriving")
        shutil.rmtree(arriving, ignore_errors=True)
        shutil.copytree(older.dir, arriving, ignore=shutil.ignore_patterns(*OWN_FILES))
        shutil.rmtree(directory, ignore_errors=True)
        arriving.rename(directory)
        self.begin(step, key, parts)
        lineage = {"adopted_from": str(older.dir), "adopted_key": older.key, "changed": changed}
        return self.finish(
            step,
            key,
            _replace(older.result, f"{older.dir}", f"{directory}"),
            seconds=older.seconds,
            lineage=lineage,
            # What later steps read is the older content, so its name goes into their keys.
            input_digest=older.input_digest,
        )

    def record(self, step: str, key: str) -> StepRecord | str:
        """The finished step of this key, or why there is none to reuse."""
        return self.record_at(self.step_dir(step, key))

    def record_at(self, directory: Path) -> StepRecord | str:
        if not directory.is_dir():
            return "never run with this key"
        marker = read_json(directory / SUCCESS)
        result = read_json(directory / "result.json")
        if not isinstance(marker, dict) or not isinstance(result, dict):
            return "cut off before it finished"
        problem = first_altered(directory, marker.get("artefacts", {}))
        if problem:
            return problem
        return StepRecord(directory, self._absolute(result), marker)

    def records(self, step: str) -> Iterator[StepRecord]:
        """Finished results of a step under any key, newest first."""
        found = [
            record
            for directory in self.steps.glob(f"{step}-*")
            if directory.suffix != ".previous"
            and isinstance(record := self.record_at(directory), StepRecord)
        ]
        yield from sorted(found, key=lambda record: -record.marker.get("finished", 0.0))

    def last_parts(self, step: str) -> dict[str, Any] | None:
        """The key parts of the latest start of a step, to explain why a key is new."""
        keys = [read_json(path) for path in self.steps.glob(f"{step}-*/key.json")]
        known = [key for key in keys if isinstance(key, dict) and "parts" in key]
        return max(known, key=lambda key: key.get("started", 0.0))["parts"] if known else None

    def _relative(self, value: Any) -> Any:
        return _replace(value, f"{self.root}/", f"{_RUN}/")

    def _absolute(self, value: Any) -> Any:
        return _replace(value, f"{_RUN}/", f"{self.root}/")


def _replace(value: Any, old: str, new: str) -> Any:
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, dict):
        return {key: _replace(inner, old, new) for key, inner in value.items()}
    if isinstance(value, list):
        return [_replace(inner, old, new) for inner in value]
    return value
