"""A local folder kept the same as a prefix of a bucket: what is done there survives the machine.

Work happens in the folder; `push` sends what changed, `pull` fetches what another machine left. A
file that only one side has changed since they last met is taken from that side; one that both have
changed comes from the bucket. Markers travel last, so a step is done in the bucket or it is not.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nitrogen.platform import storage
from nitrogen.platform.errors import LockLostError, NitrogenError, StorageError
from nitrogen.platform.mirror_lock import LOCK, MirrorLock

STATE, OURS = ".mirror.json", ".shared/"
LAST = ("_SUCCESS.json", "summary.json")
IGNORED_ENDINGS = (".partial", "-wal", "-shm", "-journal", "/.lock")


class Mirror:
    """`folder` and what lies below `uri`; under `uri`/.shared/ lies what never came from here."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.folder, self.uri = Path(folder).absolute(), uri.rstrip("/")
        self._state_path = self.folder / STATE
        self._guard = threading.RLock()
        self.lock = MirrorLock(self.uri)
        self._away = False

    def uri_of(self, path: Path) -> str:
        """The URI of a path inside the folder."""
        return storage.join(self.uri, Path(path).absolute().relative_to(self.folder).as_posix())

    def apart(self, name: str) -> str:
        """A URI beside the mirrored files, for what workers write there themselves."""
        return storage.join(self.uri, OURS, name)

    def share(self, path: Path | str) -> str:
        """Push a file or folder now and return its URI; what is elsewhere stays as it is."""
        if "://" in str(path) or not Path(path).absolute().is_relative_to(self.folder):
            return str(path)
        self.push(Path(path))
        return self.uri_of(Path(path))

    def pull(self) -> int:
        """Fetch what the bucket has newer; returns how many files. Raises StorageError."""
        with self._guard:
            known, fetched = self._known(), 0
            for entry in storage.list_entries(self.uri):
                if entry.path.startswith(OURS) or entry.path in (LOCK, STATE):
                    continue
                met = known.get(entry.path, {}).get("remote") == entry.version
                if met and (self.folder / entry.path).exists():
                    continue  # the same, or changed here since
                storage.download(storage.join(self.uri, entry.path), self.folder / entry.path)
                self._translate(entry.path, self.uri, str(self.folder))
                known[entry.path] = self._met(entry.path, entry.version)
                fetched += 1
            self._remember(known)
            return fetched

    def push(self, below: Path | None = None) -> int:
        """Send what changed here, all of it or what lies `below`; returns how many files."""
        with self._guard:
            known, sent = self._known(), 0
            names = list(self._local(below))
            for name in sorted(names, key=lambda n: (Path(n).name in LAST, Path(n).name)):
                self.lock.keep()
                if known.get(name, {}).get("local") == self._stamp(name):
                    continue
                try:
                    stamp = self._stamp(name)
                    with self._snapshot(name) as source:
                        version = storage.upload(source, storage.join(self.uri, name))
                except FileNotFoundError:
                    continue  # temporary, or dropped meanwhile
                known[name] = {"local": stamp, "remote": version}
                # Now: a run that is killed here must not take its own file for somebody else's.
                self._remember(known)
                sent += 1
            if below is None:
                for name in set(known) - set(names):
                    self.lock.keep()
                    storage.delete(storage.join(self.uri, name))
                    del known[name]
            self._remember(known)
            return sent

    def send(self, say: Callable[[str], None]) -> None:
        """Push while the run goes on. A bucket that is away is said once; its turn comes later.

        Raises LockLostError: what another run works in is no longer this one's to write to.
        """
        try:
            self.lock.renew()
            self.push()
            self._away = False
        except LockLostError:
            raise
        except (NitrogenError, OSError) as error:
            if not self._away:
                say(f"warning: {error} The run goes on and is sent there later.")
            self._away = True

    @contextlib.contextmanager
    def held(
        self,
        say: Callable[[str], None],
        interval_s: float = 60.0,
        stop: Callable[[Exception], None] | None = None,
    ) -> Iterator[None]:
        """Pull; push every `interval_s` and at the end. One process at a time, on any machine.

        A bucket that is away meanwhile is said once; at the end it raises StorageError, unless
        another error is on its way. A lock that was lost raises LockLostError, and nothing more is
        sent; `stop` is called with it from another thread, for a body that goes on for hours.
        """
        with self.lock.held():
            try:
                self.pull()
            except BaseException:
                with contextlib.suppress(StorageError):
                    self.lock.release()
                raise
            ended = threading.Event()
            follow = (ended, say, interval_s, stop)
            thread = threading.Thread(target=self._follow, args=follow, daemon=True)
            thread.start()
            error: BaseException | None = None
            try:
                yield
            except BaseException as raised:
                error = raised
                raise
            finally:
                ended.set()
                thread.join()
                self._last_push(say, error)

    def _last_push(self, say: Callable[[str], None], error: BaseException | None) -> None:
        """Send the rest and release the lock. Raises StorageError, or says it if the run has failed
        already: unless that was for the lost lock itself."""
        try:
            self.lock.renew()
            self.push()
            self.lock.release()
        except LockLostError as lost:
            text = f"{lost} What this run made lies in {self.folder}."
            if error is None or isinstance(error, KeyboardInterrupt | LockLostError):
                raise LockLostError(text) from error
            say(f"warning: {text}")
        except StorageError as away:
            remedy = f"What was made lies in {self.folder}; run the same command again to send it."
            if error is None:
                raise StorageError(f"{away} {remedy}") from away
            say(f"warning: {away} {remedy}")

    def _follow(
        self,
        ended: threading.Event,
        say: Callable[[str], None],
        every_s: float,
        stop: Callable[[Exception], None] | None,
    ) -> None:
        while not ended.wait(every_s):
            try:
                self.send(say)
            except LockLostError as lost:
                if stop is not None and not ended.is_set():
                    stop(lost)
                return

    def _local(self, below: Path | None) -> Iterator[str]:
        root = self.folder if below is None else Path(below).absolute()
        # os.walk passes over a folder that is removed meanwhile; rglob raises.
        found = (Path(at, name) for at, _, names in os.walk(root) for name in names)
        for path in [root] if root.is_file() else found:
            name = path.relative_to(self.folder).as_posix()
            hidden = name.startswith("logs/") or any(p.startswith(".") for p in Path(name).parts)
            if not hidden and not f"/{name}".endswith(IGNORED_ENDINGS) and path.is_file():
                yield name

    def _stamp(self, name: str) -> list[int] | None:
        with contextlib.suppress(OSError):
            found = (self.folder / name).stat()
            return [found.st_size, found.st_mtime_ns]
        return None

    def _met(self, name: str, version: str) -> dict[str, Any]:
        return {"local": self._stamp(name), "remote": version}

    @contextlib.contextmanager
    def _snapshot(self, name: str) -> Iterator[Path]:
        """The file as it is sent: a database whole, a summary with the bucket's paths."""
        path = self.folder / name
        if path.suffix != ".db" and path.name != "summary.json":
            yield path
            return
        with tempfile.TemporaryDirectory(prefix="nitrogen-") as scratch:
            copy = Path(scratch) / path.name
            if path.suffix == ".db":
                _copy_database(path, copy)
            else:
                copy.write_text(path.read_text().replace(f"{self.folder}", self.uri))
            yield copy

    def _translate(self, name: str, old: str, new: str) -> None:
        if Path(name).name == "summary.json":
            path = self.folder / name
            path.write_text(path.read_text().replace(old, new))

    def _known(self) -> dict[str, dict[str, Any]]:
        try:
            found = json.loads(self._state_path.read_text())
        except (OSError, ValueError):
            return {}
        return found["files"] if found.get("uri") == self.uri else {}

    def _remember(self, known: dict[str, dict[str, Any]]) -> None:
        partial = self._state_path.with_suffix(".partial")
        partial.write_text(json.dumps({"uri": self.uri, "files": known}))
        partial.replace(self._state_path)


def _copy_database(path: Path, copy: Path) -> None:
    path.stat()  # FileNotFoundError
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)) as source,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
    except sqlite3.Error as error:
        raise StorageError(
            f"cannot copy {path}: {error}. Close what holds the database and run again."
        ) from error
