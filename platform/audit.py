"""The append-only record of who moved which alias, when, from where to where, and on what grounds.

MLflow keeps no history of alias moves, so this file is it: one JSON object a line, each carrying
the sha256 of the line before, so that a removed or edited line shows. Writers on one machine are
serialised by a lock; a line is flushed to disk before `append` returns. What is about to move is
written down beside it first, so that a process that was killed inside a move leaves a trace.
"""

import contextlib
import fcntl
import getpass
import hashlib
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nitrogen.platform import storage
from nitrogen.platform.errors import StorageError

_GENESIS = "0" * 64


class AuditLog:
    """An audit file; it is created at the first record."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._pending = self.path.with_name(f"{self.path.name}.pending")

    def append(
        self,
        event: str,
        model: str,
        *,
        actor: str | None = None,
        from_version: str | None = None,
        to_version: str | None = None,
        gates_digest: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Write one record durably and return it. Raises: StorageError."""
        record: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "actor": actor or default_actor(),
            "event": event,
            "model": model,
            "from": from_version,
            "to": to_version,
            "gates_digest": gates_digest,
            "details": details or {},
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(0)
                lines = file.read().splitlines(keepends=True)
                if lines and not lines[-1].endswith(b"\n"):
                    # A writer was killed inside a line: its bytes stay, as evidence.
                    file.write(b"\n")
                record["sequence"] = len(lines) + 1
                record["previous_sha256"] = _line_hash(lines[-1]) if lines else _GENESIS
                file.write(json.dumps(record, sort_keys=True, allow_nan=False).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(
                f"audit file {self.path} must be writable: {error.strerror}. "
                "Nothing may be promoted without a record; free the disk or change the path."
            ) from None
        return record

    def intend(self, event: str, model: str, **fields: Any) -> None:
        """Write down durably what `append` will record once it is done; call under `exclusive`."""
        intent = {"after": len(self._lines()), "event": event, "model": model, **fields}
        storage.write_bytes(str(self._pending), json.dumps(intent).encode())

    def intended(self) -> tuple[dict[str, Any], bool] | None:
        """The move that a killed process had begun, and whether it is recorded already."""
        try:
            intent = json.loads(self._pending.read_bytes())
        except FileNotFoundError:
            return None
        after = intent.pop("after")
        wanted = tuple(intent[name] for name in ("event", "model", "to_version"))
        recorded = any(
            record["sequence"] > after
            and (record["event"], record["model"], record["to"]) == wanted
            for record in self.read()
        )
        return intent, recorded

    def settle(self) -> None:
        """Forget what was intended: it is recorded, or did not happen."""
        self._pending.unlink(missing_ok=True)

    def read(self) -> list[dict[str, Any]]:
        """All records, oldest first; a line cut off by a kill is left out."""
        records = []
        for line in self._lines():
            with contextlib.suppress(ValueError):
                records.append(json.loads(line))
        return records

    def check(self) -> None:
        """Verify the chain. Raises: StorageError naming the first line that does not fit."""
        previous = _GENESIS
        for number, line in enumerate(self._lines(), start=1):
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                if record["previous_sha256"] != previous or record["sequence"] != number:
                    raise StorageError(
                        f"audit file {self.path} must be append-only, but line {number} does not "
                        "follow the one before it. Compare it with a backup."
                    )
            previous = _line_hash(line)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock under which aliases are compared and set (one machine)."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_name(f"{self.path.name}.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _lines(self) -> list[bytes]:
        return self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else []


def default_actor() -> str:
    """The account that runs this process; a container may have none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"


def _line_hash(line: bytes) -> str:
    return hashlib.sha256(line.rstrip(b"\n")).hexdigest()
