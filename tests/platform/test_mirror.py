"""A folder and what mirrors it: a second folder stands in for the bucket."""

import contextlib
import json
import os
import sqlite3
import threading
import time

import pytest

from nitrogen.platform import storage
from nitrogen.platform.errors import LockLostError, StorageError
from nitrogen.platform.mirror import Mirror
from nitrogen.platform.mirror_lock import LOCK
from nitrogen.platform.processes import process_space


@pytest.fixture
def remote(tmp_path):
    return str(tmp_path / "bucket")


@pytest.fixture
def mirror(tmp_path, remote):
    return machine(tmp_path / "here", remote)


def machine(folder, remote):
    folder.mkdir(exist_ok=True)
    return Mirror(folder, remote)


def put(mirror, name, text):
    path = mirror.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_another_machine_gets_what_was_pushed(mirror, remote, tmp_path):
    put(mirror, "steps/a/data.txt", "1")
    put(mirror, ".lock", "")
    put(mirror, "steps/a/half.partial", "x")
    assert mirror.push() == 1
    assert mirror.push() == 0, "nothing has changed"
    other = machine(tmp_path / "there", remote)
    assert other.pull() == 1
    assert (other.folder / "steps/a/data.txt").read_text() == "1"
    assert other.pull() == 0


def test_the_side_that_changed_wins_and_the_bucket_if_both_did(mirror, remote, tmp_path):
    for name in ("mine", "theirs", "both"):
        put(mirror, name, "old")
    mirror.push()
    other = machine(tmp_path / "there", remote)
    other.pull()
    for name in ("theirs", "both"):
        put(other, name, "theirs!")
    other.push()
    for name in ("mine", "both"):
        put(mirror, name, "mine!!!")
    mirror.pull()
    found = {name: (mirror.folder / name).read_text() for name in ("mine", "theirs", "both")}
    assert found == {"mine": "mine!!!", "theirs": "theirs!", "both": "theirs!"}


def test_what_is_gone_here_goes_there(mirror, remote):
    put(mirror, "old-checkpoint", "1").unlink()
    path = put(mirror, "checkpoint", "1")
    mirror.push()
    path.unlink()
    mirror.push()
    assert storage.list_files(remote) == []


def test_markers_travel_last(mirror, monkeypatch):
    for name in ("summary.json", "steps/a/_SUCCESS.json", "steps/a/result.json", "z"):
        put(mirror, name, "{}")
    order = []
    upload = storage.upload
    monkeypatch.setattr(storage, "upload", lambda p, u: (order.append(u), upload(p, u))[1])
    mirror.push()
    assert [uri.rsplit("/", 1)[1] for uri in order[-2:]] == ["_SUCCESS.json", "summary.json"]


def test_a_summary_names_the_bucket_there_and_the_folder_here(mirror, remote, tmp_path):
    put(mirror, "summary.json", json.dumps({"report": str(mirror.folder / "report.html")}))
    mirror.push()
    sent = json.loads(storage.read_bytes(storage.join(remote, "summary.json")))
    assert sent["report"] == f"{remote}/report.html"
    other = machine(tmp_path / "there", remote)
    other.pull()
    told = json.loads((other.folder / "summary.json").read_text())
    assert told["report"] == str(other.folder / "report.html")


def test_a_database_in_use_is_sent_whole(mirror, remote, tmp_path):
    with contextlib.closing(sqlite3.connect(mirror.folder / "mlflow.db")) as writer:
        writer.execute("pragma journal_mode = wal")
        writer.execute("create table t (x)")
        writer.execute("insert into t values (7)")
        writer.commit()  # in the log beside the file, not in the file
        mirror.push()
        other = machine(tmp_path / "there", remote)
        other.pull()
    with contextlib.closing(sqlite3.connect(other.folder / "mlflow.db")) as reader:
        assert reader.execute("select x from t").fetchall() == [(7,)]


def test_shared_paths_are_there_when_they_are_named(mirror, remote):
    put(mirror, "steps/a/model/weights", "w")
    put(mirror, "steps/b", "not yet")
    uri = mirror.share(mirror.folder / "steps/a/model")
    assert storage.read_bytes(f"{uri}/weights") == b"w"
    assert storage.list_files(remote) == ["steps/a/model/weights"]
    assert mirror.share("s3://elsewhere/data") == "s3://elsewhere/data"


def test_held_pushes_as_it_goes_and_is_alone(mirror, remote, tmp_path):
    pushed = threading.Event()
    with mirror.held(print, interval_s=0.05):
        put(mirror, "checkpoint", "1")
        deadline = threading.Timer(10, pushed.set)
        deadline.start()
        while not storage.exists(f"{remote}/checkpoint") and not pushed.is_set():
            pushed.wait(0.02)
        deadline.cancel()
        assert storage.exists(f"{remote}/checkpoint"), "pushed before the end"
        other = machine(tmp_path / "there", remote)
        other.lock.owner = {"host": "another", "pid": 1}
        with (
            pytest.raises(StorageError, match=r"must be free, got a run by process .* Wait for it"),
            other.held(print),
        ):
            pass
    assert not storage.exists(f"{remote}/{LOCK}")


def test_a_lock_of_a_killed_run_does_not_block(mirror, remote):
    space = process_space()
    dead = {"host": mirror.lock.owner["host"], "pid": 2**22 + 1, "space": space, "time": 9e9}
    storage.write_bytes(f"{remote}/{LOCK}", json.dumps(dead).encode())
    with mirror.held(print):
        assert json.loads(storage.read_bytes(f"{remote}/{LOCK}"))["pid"] == os.getpid()
    storage.write_bytes(f"{remote}/{LOCK}", b'{"half')
    with mirror.held(print):
        pass


def test_a_bucket_that_is_away_meanwhile_is_said_once(mirror, monkeypatch):
    said, tries = [], []

    def away(*_):
        tries.append(1)
        raise StorageError("cannot write x: y. Check z.")

    with mirror.held(said.append, interval_s=0.02):
        with monkeypatch.context() as patch:
            patch.setattr(storage, "replace_bytes", away)
            for _ in range(500):
                if len(tries) > 3:
                    break
                threading.Event().wait(0.01)
        put(mirror, "late", "1")
    assert len(tries) > 3
    assert len(said) == 1
    assert "sent there later" in said[0]
    assert storage.exists(f"{mirror.uri}/late")


def test_a_bucket_that_is_away_at_the_end_loses_nothing(mirror, monkeypatch):
    def away(*_):
        raise StorageError("cannot write x: y. Check z.")

    said = []

    def run(error=None):
        with monkeypatch.context() as patch, mirror.held(said.append):
            put(mirror, "result", "1")
            patch.setattr(storage, "upload", away)
            if error is not None:
                raise error

    with pytest.raises(StorageError, match=r"What was made lies in .*; run the same command again"):
        run()
    with pytest.raises(ValueError, match="the real one"):
        run(ValueError("the real one"))
    assert len(said) == 1
    with mirror.held(print):
        pass
    assert storage.read_bytes(f"{mirror.uri}/result") == b"1"


def test_a_killed_push_is_not_taken_for_somebody_elses(mirror, monkeypatch):
    put(mirror, "a", "old")
    put(mirror, "b", "old")
    upload = storage.upload

    def once(path, uri):
        if path.name == "b":
            raise KeyboardInterrupt
        return upload(path, uri)

    monkeypatch.setattr(storage, "upload", once)
    with pytest.raises(KeyboardInterrupt):
        mirror.push()
    put(mirror, "a", "newer!")
    assert Mirror(mirror.folder, mirror.uri).pull() == 0
    assert (mirror.folder / "a").read_text() == "newer!"


def taken_over(mirror):
    """Another run has put its record in the place of ours; returns it."""
    record = json.dumps({"host": "another", "pid": 1, "id": "x", "time": time.time()}).encode()
    storage.write_bytes(f"{mirror.uri}/{LOCK}", record)
    return record


def test_a_lock_that_was_taken_over_ends_the_pushing(mirror, remote):
    records = []

    def run(error=None):
        with mirror.held(print):
            put(mirror, "late", "1")
            records.append(taken_over(mirror))
            if error is not None:
                raise error

    told = (
        r"got process 1 on another that took it over\. Wait .* What this run made lies in .*/here"
    )
    with pytest.raises(LockLostError, match=told):
        run()
    storage.delete(f"{remote}/{LOCK}")
    with pytest.raises(ValueError, match="the real one"):
        run(ValueError("the real one"))
    assert not storage.exists(f"{remote}/late")
    assert storage.read_bytes(f"{remote}/{LOCK}") == records[-1], "not ours to remove"


def test_a_lock_that_is_lost_meanwhile_stops_the_run(mirror, remote):
    stopped, reasons = threading.Event(), []

    def stop(error):
        reasons.append(error)
        stopped.set()

    def run():
        with mirror.held(print, interval_s=0.02, stop=stop):
            record = taken_over(mirror)
            put(mirror, "late", "1")
            assert stopped.wait(20)
            for write in (mirror.push, lambda: mirror.share(mirror.folder / "late")):
                with pytest.raises(LockLostError):
                    write()
            with pytest.raises(LockLostError):
                mirror.send(print)
            assert storage.read_bytes(f"{remote}/{LOCK}") == record
            raise KeyboardInterrupt  # as whoever was told to stop does

    with pytest.raises(LockLostError, match="took it over"):
        run()
    assert len(reasons) == 1
    assert not storage.exists(f"{remote}/late")


def test_pushing_goes_on_after_a_file_that_vanished(mirror, monkeypatch):
    said, pushed, push = [], threading.Event(), mirror.push

    def first_fails(*arguments):
        if not said:
            raise FileNotFoundError("a checkpoint that was dropped")
        pushed.set()
        return push(*arguments)

    monkeypatch.setattr(mirror, "push", first_fails)
    with mirror.held(said.append, interval_s=0.02):
        assert pushed.wait(10)
    assert len(said) == 1


def test_a_database_that_is_none_is_one_sentence(mirror):
    put(mirror, "mlflow.db", "no database" * 100)
    with pytest.raises(StorageError, match=r"cannot copy .*mlflow\.db"):
        mirror.push()
