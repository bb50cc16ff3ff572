"""The lock of a run folder in a bucket; a second folder stands in for the bucket."""

import json
import os
import threading
import time

import pytest

from nitrogen.platform import mirror_lock, storage
from nitrogen.platform.errors import StorageError
from nitrogen.platform.mirror import Mirror
from nitrogen.platform.mirror_lock import LOCK, MirrorLock
from nitrogen.platform.processes import process_alive


@pytest.fixture
def uri(tmp_path):
    return str(tmp_path / "bucket")


def since(uri):
    return json.loads(storage.read_bytes(f"{uri}/{LOCK}"))["time"]


def of_another_machine(uri):
    lock = MirrorLock(uri)
    lock.owner = {"host": "another", "pid": 1}
    return lock


@pytest.mark.parametrize("at_the_end", [False, True])
def test_one_long_upload_does_not_make_the_lock_stale(uri, tmp_path, monkeypatch, at_the_end):
    monkeypatch.setattr(mirror_lock, "STALE_S", 0.3)
    (tmp_path / "here").mkdir()
    mirror = Mirror(tmp_path / "here", uri)
    mirror.lock.renew_s = 0.02
    (mirror.folder / "large").write_text("x")
    upload, refused, uploading = storage.upload, [], threading.Event()

    def slowly(path, target):
        uploading.set()
        started = since(uri)
        deadline = time.monotonic() + 20
        while since(uri) < started + 0.6 and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(StorageError, match="must be free"), of_another_machine(uri).held():
            pass
        refused.append(path.name)
        return upload(path, target)

    monkeypatch.setattr(storage, "upload", slowly)
    with mirror.held(print, interval_s=60 if at_the_end else 0.01):
        assert at_the_end or uploading.wait(20)
    assert refused == ["large"]
    assert not storage.exists(f"{uri}/{LOCK}"), "no renewal after the release"


def test_a_lock_that_was_not_renewed_is_taken(uri, monkeypatch):
    old = {"host": "another", "pid": 1, "time": time.time() - mirror_lock.STALE_S - 1}
    storage.write_bytes(f"{uri}/{LOCK}", json.dumps(old).encode())
    lock = MirrorLock(uri)
    with lock.held():
        assert json.loads(storage.read_bytes(f"{uri}/{LOCK}"))["pid"] == os.getpid()
        lock.release()


def test_who_slept_while_another_ran_and_ended_must_not_go_on(uri):
    lock = MirrorLock(uri)
    with lock.held():
        storage.delete(f"{uri}/{LOCK}")  # the other one's release
        lock._renewed -= 2 * lock.renew_s
        with pytest.raises(StorageError, match=r"took it over and has ended\. Run the same"):
            lock.keep()
        assert not storage.exists(f"{uri}/{LOCK}")


def test_process_alive():
    assert process_alive(os.getpid())
    assert process_alive(1), "somebody else's"
    assert not process_alive(2**22 + 1)
    assert not process_alive(2**80)
