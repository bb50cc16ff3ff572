"""The lock of a run folder in a bucket: one run at a time there, on any machine.

It is an object that names its owner and when that last said so. The owner says so again from a
thread of its own, however long one file takes to travel; a lock that was not renewed for STALE_S
belongs to a run that is dead. Every change of it is a conditional write: what was read must still
be there, so of several runs one takes it, and nobody renews or removes what is another's. An id
drawn for each lock tells whose it is. A run that is known to be dead is not waited for: one of
the same boot and the same namespace of process ids, whose process is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from nitrogen.platform import storage
from nitrogen.platform.errors import LockLostError, StorageError
from nitrogen.platform.processes import own_start, process_alive, process_space

LOCK = ".mirror-lock.json"
STALE_S, RENEW_S = 240.0, 60.0  # when others may take it, how often it is renewed


class MirrorLock:
    """The lock of what lies below `uri`."""

    def __init__(self, uri: str, renew_s: float = RENEW_S) -> None:
        self.uri, self.renew_s = uri, renew_s
        self.owner = {"host": socket.gethostname(), "pid": os.getpid()}
        self._id = uuid.uuid4().hex  # process ids are given again, to other containers too
        self._space, self._started = process_space(), own_start()
        self._at = storage.join(uri, LOCK)
        self._guard = threading.Lock()
        self._tag: str | None = None  # of what we wrote there; None while the lock is not ours
        self._renewed = 0.0  # when
        self._lost: LockLostError | None = None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Take the lock and renew it until `release`, or the end. Raises StorageError when another
        run has it."""
        with self._guard:
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
        """Say that we are alive.

        Raises LockLostError, and from then on at every call, when another run has taken the lock
        over, as it may from a machine that slept; StorageError when the bucket is out of reach.
        """
        with self._guard:
            if self._lost is not None:
                raise self._lost
            if self._tag is not None:  # else it was released meanwhile
                self._tag = self._replaced()
                self._renewed = time.time()

    def keep(self) -> None:
        """Renew before the next file of a long push, if that is due: a machine that slept has lost
        its lock meanwhile, and must not write over what its successor does."""
        # By the wall clock: the monotonic one stands still while a machine sleeps.
        if self._lost is not None or time.time() - self._renewed > self.renew_s:
            self.renew()

    def release(self) -> None:
        """Remove the lock if it is still ours."""
        with self._guard:
            tag, self._tag = self._tag, None
            if tag is None or storage.delete_tagged(self._at, tag):
                return
            found = storage.read_tagged(self._at)
            if found is not None and self._is_mine(found[0]):  # see `_replaced`
                storage.delete_tagged(self._at, found[1])

    def _take(self) -> None:
        self._lost = None
        found, record = storage.read_tagged(self._at), self._record()
        if found is None:
            tag = storage.create_bytes(self._at, record)
        else:
            other = self._other(found[0])
            if other is not None:
                raise StorageError(
                    f"{self.uri} must be free, got a run by process {other['pid']} on "
                    f"{other['host']} in it. Wait for it, stop it, or choose another --out."
                )
            # Left by a run that is dead, or by this one.
            tag = storage.replace_bytes(self._at, record, found[1])
        if tag is None:
            found = storage.read_tagged(self._at)
            tag = found[1] if found is not None and self._is_mine(found[0]) else None
        if tag is None:
            raise StorageError(
                f"{self.uri} must be free, got a run that started there at the same moment. "
                "Wait for it, stop it, or choose another --out."
            )
        self._tag, self._renewed = tag, time.time()

    def _replaced(self) -> str:
        """The tag of a fresh record in the place of our last one. Raises LockLostError."""
        assert self._tag is not None
        tag = storage.replace_bytes(self._at, self._record(), self._tag)
        if tag is not None:
            return tag
        found = storage.read_tagged(self._at)
        # A write whose answer was lost on the way: what lies there is ours, under another tag.
        if found is not None and self._is_mine(found[0]):
            tag = storage.replace_bytes(self._at, self._record(), found[1])
        if tag is None:
            lost = self._told(found[0] if found is not None else None)
            self._tag, self._lost = None, lost
            raise lost
        return tag

    def _told(self, record: bytes | None) -> LockLostError:
        """The sentence for a lock that is gone, or lies there as another's `record`."""
        other = _read(record) if record is not None else None
        if other is None:
            return LockLostError(
                f"{self.uri} must be this run's, got another run that took it over and has ended. "
                "Run the same command again, to go on from what that one left."
            )
        return LockLostError(
            f"{self.uri} must be this run's, got process {other['pid']} on {other['host']} "
            "that took it over. Wait for that one, or stop it, and run the same command again."
        )

    def _go_on(self, ended: threading.Event) -> None:
        while not ended.wait(self.renew_s):
            # Who pushes meets the same error, and says it.
            with contextlib.suppress(StorageError, OSError):
                self.renew()

    def _other(self, record: bytes) -> dict[str, Any] | None:
        """host and pid of another run that holds the lock with this record, if one does."""
        held = _read(record)
        if held is None or held["id"] == self._id or time.time() - held["time"] >= STALE_S:
            return None
        return None if self._dead(held) else {"host": held["host"], "pid": held["pid"]}

    def _dead(self, held: dict[str, Any]) -> bool:
        """Whether the process of a record is gone; False where that cannot be seen from here."""
        if self._space is None or held["space"] != self._space:
            return False
        if held["host"] != self.owner["host"]:  # a machine that was copied while it ran
            return False
        if held["pid"] == os.getpid():  # this very process, or one that had its id
            return bool(held["started"] != self._started)
        return not process_alive(held["pid"])

    def _is_mine(self, record: bytes) -> bool:
        held = _read(record)
        return held is not None and held["id"] == self._id

    def _record(self) -> bytes:
        place = {"space": self._space, "started": self._started}
        return json.dumps({**self.owner, **place, "id": self._id, "time": time.time()}).encode()


def _read(record: bytes) -> dict[str, Any] | None:
    """host, pid, space, started, id and time of a lock's record, the middle ones None in that of an
    older version; None for anything else."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        held = json.loads(record)
        return {
            "host": str(held["host"]),
            "pid": int(held["pid"]),
            "space": held.get("space"),
            "started": held.get("started"),
            "id": held.get("id"),
            "time": float(held["time"]),
        }
    return None
