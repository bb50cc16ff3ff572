"""The lock of a run folder in a bucket: one run at a time there, on any machine.

It is an object that names its owner and when that last said so. The owner says so again from a
thread of its own, however long one file takes to travel; a lock that was not renewed for STALE_S
belongs to a run that is dead.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from nitrogen.platform import storage
from nitrogen.platform.errors import StorageError
from nitrogen.platform.processes import process_alive

LOCK = ".mirror-lock.json"
STALE_S, RENEW_S = 240.0, 60.0  # when others may take it, how often it is renewed


class MirrorLock:
    """The lock of what lies below `uri`."""

    def __init__(self, uri: str, renew_s: float = RENEW_S) -> None:
        self.uri, self.renew_s = uri, renew_s
        self.owner = {"host": socket.gethostname(), "pid": os.getpid()}
        self._at = storage.join(uri, LOCK)
        self._guard = threading.Lock()
        self._renewed: float | None = None  # when; None while the lock is not ours

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Take the lock and renew it until `release`, or the end. Raises StorageError when another
        run has it."""
        self._take()
        ended = threading.Event()
        thread = threading.Thread(target=self._go_on, args=(ended,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def renew(self) -> None:
        """Say that we are alive. Raises StorageError when another run has taken the lock over,
        as it may from a machine that slept, or when the bucket is out of reach."""
        with self._guard:
            if self._renewed is not None:  # else it was released meanwhile
                self._require_ours()
                storage.write_bytes(self._at, self._record())
                self._renewed = time.time()

    def keep(self) -> None:
        """Renew before the next file of a long push, if that is due: a machine that slept has lost
        its lock meanwhile, and must not write over what its successor does."""
        # By the wall clock: the monotonic one stands still while a machine sleeps.
        if self._renewed is not None and time.time() - self._renewed > self.renew_s:
            self.renew()

    def release(self) -> None:
        with self._guard:
            self._renewed = None
            storage.delete(self._at)

    def _take(self) -> None:
        other = self._other()
        if other is not None:
            raise StorageError(
                f"{self.uri} must be free, got a run by process {other['pid']} on "
                f"{other['host']} in it. Wait for it, stop it, or choose another --out."
            )
        if storage.exists(self._at):
            storage.delete(self._at)  # left by a run that is dead, or by this process
        if not storage.create_bytes(self._at, self._record()):
            raise StorageError(
                f"{self.uri} must be free, got a run that started there at the same moment. "
                "Wait for it, stop it, or choose another --out."
            )
        self._renewed = time.time()

    def _require_ours(self) -> None:
        if (other := self._other()) is not None:
            raise StorageError(
                f"{self.uri} must be this run's, got process {other['pid']} on {other['host']} "
                "that took it over. Stop one of the two."
            )
        if not storage.exists(self._at):
            raise StorageError(
                f"{self.uri} must be this run's, got another run that took it over and has ended. "
                "Run the same command again, to go on from what that one left."
            )

    def _go_on(self, ended: threading.Event) -> None:
        while not ended.wait(self.renew_s):
            # Who pushes meets the same error, and says it.
            with contextlib.suppress(StorageError, OSError):
                self.renew()

    def _other(self) -> dict[str, Any] | None:
        """host and pid of another run that holds the lock, if one does."""
        if not storage.exists(self._at):
            return None
        with contextlib.suppress(ValueError, KeyError, TypeError):
            held = json.loads(storage.read_bytes(self._at))
            owner = {"host": held["host"], "pid": int(held["pid"])}
            dead = owner["host"] == self.owner["host"] and not process_alive(owner["pid"])
            if owner != self.owner and not dead and time.time() - held["time"] < STALE_S:
                return owner
        return None

    def _record(self) -> bytes:
        return json.dumps({**self.owner, "time": time.time()}).encode()
