"""The lock of a run folder, in a second folder that stands in for a bucket and in a real one."""

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from s3_server import BUCKET

from nitrogen.platform import mirror_lock, storage
from nitrogen.platform.errors import LockLostError, StorageError
from nitrogen.platform.mirror import Mirror
from nitrogen.platform.mirror_lock import LOCK, MirrorLock
from nitrogen.platform.processes import own_start, process_alive, process_space


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def uri(request, tmp_path):
    if request.param == "folder":
        return str(tmp_path / "bucket")
    request.getfixturevalue("s3_endpoint")
    return f"s3://{BUCKET}/{tmp_path.name}-{os.getpid()}"


def since(uri):
    return json.loads(storage.read_bytes(f"{uri}/{LOCK}"))["time"]


def of_another_machine(uri, host="another"):
    lock = MirrorLock(uri)
    lock.owner = {"host": host, "pid": 1}
    return lock


def of_a_dead_run(uri):
    """A lock that nobody has renewed for too long."""
    old = {"host": "a third", "pid": 1, "id": "x", "time": time.time() - mirror_lock.STALE_S - 1}
    storage.write_bytes(f"{uri}/{LOCK}", json.dumps(old).encode())


@pytest.mark.parametrize("at_the_end", [False, True])
def test_one_long_upload_does_not_make_the_lock_stale(tmp_path, monkeypatch, at_the_end):
    uri = str(tmp_path / "bucket")  # a real one would need longer than 0.3 s on a busy machine
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
    of_a_dead_run(uri)
    lock = MirrorLock(uri)
    with lock.held():
        assert json.loads(storage.read_bytes(f"{uri}/{LOCK}"))["pid"] == os.getpid()
        lock.release()


def test_who_slept_while_another_ran_and_ended_must_not_go_on(uri):
    lock = MirrorLock(uri)
    with lock.held():
        storage.delete(f"{uri}/{LOCK}")  # the other one's release
        lock._renewed -= 2 * lock.renew_s
        with pytest.raises(LockLostError, match=r"took it over and has ended\. Run the same"):
            lock.keep()
        assert not storage.exists(f"{uri}/{LOCK}")


@pytest.mark.parametrize("stale", [True, False])
def test_of_several_that_have_seen_the_same_one_takes_it(uri, monkeypatch, stale):
    if stale:
        of_a_dead_run(uri)
    seen, read = threading.Barrier(4), storage.read_tagged
    waits = threading.local()

    def read_together(at):
        found = read(at)
        if not getattr(waits, "over", False):
            waits.over = True
            seen.wait(20)  # all four have seen it before one of them writes
        return found

    monkeypatch.setattr(storage, "read_tagged", read_together)
    ended = threading.Barrier(4)

    def run(lock):
        try:
            with lock.held():
                ended.wait(20)
                lock.renew()
                return lock.owner["host"]
        except StorageError as error:
            ended.wait(20)
            return str(error)

    locks = [of_another_machine(uri, f"machine {i}") for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(run, locks))
    winners = [text for text in told if text.startswith("machine")]
    assert len(winners) == 1, told
    assert sum("started there at the same moment" in text for text in told) == 3
    assert json.loads(storage.read_bytes(f"{uri}/{LOCK}"))["host"] == winners[0]


def test_what_another_has_taken_over_is_neither_renewed_nor_removed(uri):
    lock, other = MirrorLock(uri), of_another_machine(uri)
    with lock.held():
        of_a_dead_run(uri)  # this machine slept
        with other.held():
            theirs = storage.read_bytes(f"{uri}/{LOCK}")
            with pytest.raises(LockLostError, match="got process 1 on another that took it over"):
                lock.renew()
            with pytest.raises(LockLostError):
                lock.keep()
            lock.release()
            assert storage.read_bytes(f"{uri}/{LOCK}") == theirs
            other.renew()
            other.release()
    assert not storage.exists(f"{uri}/{LOCK}")


def test_a_release_after_a_takeover_leaves_the_lock_to_its_owner(uri):
    lock, other = MirrorLock(uri), of_another_machine(uri)
    with lock.held():
        of_a_dead_run(uri)
        with other.held():
            lock.release()  # before it has noticed
            assert json.loads(storage.read_bytes(f"{uri}/{LOCK}"))["host"] == "another"


@pytest.mark.parametrize("retried", [True, False])
def test_an_answer_that_is_lost_on_the_way_loses_no_lock(uri, monkeypatch, retried):
    """Retried: the second request is told that its condition does not hold, by the first one."""
    lock, replace, calls = MirrorLock(uri), storage.replace_bytes, []

    def unheard_once(*arguments):
        calls.append(replace(*arguments))
        if len(calls) > 1:
            return calls[-1]
        if not retried:
            raise StorageError("cannot write: the S3 server does not answer. Check it.")
        return None

    with lock.held():
        monkeypatch.setattr(storage, "replace_bytes", unheard_once)
        if not retried:
            with pytest.raises(StorageError, match="does not answer"):
                lock.renew()
        lock.renew()
        lock.renew()
        lock.release()
    assert not storage.exists(f"{uri}/{LOCK}")


@pytest.mark.parametrize("space", ["this boot pid:[1]", None])
def test_a_namesake_in_another_container_keeps_its_lock(tmp_path, monkeypatch, space):
    """Of the same host name and process id; from where it is, neither sees whether the other
    lives."""
    uri = str(tmp_path / "bucket")
    monkeypatch.setattr(mirror_lock, "process_space", lambda: space)
    other = MirrorLock(uri)
    monkeypatch.undo()
    assert other.owner == MirrorLock(uri).owner
    with other.held():
        with pytest.raises(StorageError, match="must be free"), MirrorLock(uri).held():
            pass
        other.owner["pid"] = 2**22 + 1  # which is nobody's here
        other.renew()
        with pytest.raises(StorageError, match="must be free"), MirrorLock(uri).held():
            pass
        other.release()


@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({}, False),  # another lock of this process
        ({"started": "1"}, True),  # one that had our process id before us, as in a container
        ({"pid": 2**22 + 1}, True),
        ({"pid": 2**22 + 1, "host": "another"}, False),
        ({"pid": 2**22 + 1, "space": None}, False),  # of an older version
        ({"pid": 1}, False),
    ],
)
def test_only_a_process_that_is_known_to_be_gone_is_not_waited_for(tmp_path, changes, taken):
    uri = str(tmp_path / "bucket")
    first = MirrorLock(uri)
    with first.held():
        record = json.loads(storage.read_bytes(f"{uri}/{LOCK}")) | changes
        storage.write_bytes(f"{uri}/{LOCK}", json.dumps(record).encode())
        second = MirrorLock(uri)
        if taken:
            with second.held():
                second.release()
        else:
            with pytest.raises(StorageError, match="must be free"), second.held():
                pass
        # What a killed attempt of its own left is this lock's, whoever it says it is.
        with first.held():
            first.release()


def test_what_a_process_says_of_itself():
    assert str(os.stat("/proc/self/ns/pid").st_ino) in process_space()
    ticks = os.sysconf("SC_CLK_TCK")
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert 0 < since_boot - int(own_start()) / ticks < 86_400


def test_process_alive():
    assert process_alive(os.getpid())
    assert process_alive(1), "somebody else's"
    assert not process_alive(2**22 + 1)
    assert not process_alive(2**80)
