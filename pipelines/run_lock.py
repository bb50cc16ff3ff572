"""One run at a time in a run folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nitrogen.platform.errors import StorageError
from nitrogen.platform.processes import process_alive


@contextlib.contextmanager
def run_lock(path: Path) -> Iterator[None]:
    """Hold the folder's lock; StorageError names the process that has it.

    The kernel drops the lock when its holder dies, also by kill -9, so that a stale file never
    blocks; what stands in the file is only there to name the holder.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as exc:
        raise StorageError(
            f"--out must be a writable folder, got {path.parent} ({exc.strerror}). "
            "Choose another folder."
        ) from exc
    try:
        _acquire(handle, path)
        record = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(record).encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def _acquire(handle: int, path: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        owner = _read(path)
        who = f"process {owner['pid']} on {owner['host']}" if owner else "another process"
        raise StorageError(
            f"{path.parent} must be free, got a run by {who} in it. "
            "Wait for it, stop it with `nitrogen stop`, or choose another --out."
        ) from exc
    except OSError:
        # Some network file systems have no flock; then the process id in the file decides.
        owner = _read(path)
        if owner and owner["host"] == socket.gethostname() and process_alive(owner["pid"]):
            raise StorageError(
                f"{path.parent} must be free, got a run by process {owner['pid']} in it. "
                "Wait for it or choose another --out."
            ) from None


def lock_holder(path: Path) -> dict[str, Any] | None:
    """pid, host and since of the run that holds the lock; None when the folder is free."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(path)
    except OSError:
        owner = _read(path)
        return owner if owner and process_alive(owner["pid"]) else None
    finally:
        os.close(handle)
    return None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text())
        return {"pid": int(record["pid"]), "host": record["host"], "since": record["since"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None
