"""Tracker on a real SQLite store and on a real server that goes away and comes back."""

import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from nitrogen.platform.errors import TrackingError
from nitrogen.platform.tracking import Tracker
from nitrogen.platform.tracking_client import flatten, open_client
from nitrogen.platform.training_journal import Journal
from nitrogen.platform.training_tracking import JournalForwarder


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a space in its name and a leftover of MLflow's old store; made once."""
    folder = tmp_path_factory.mktemp("my home")
    (folder / "mlruns" / "0").mkdir(parents=True)
    (folder / "mlruns" / "0" / "meta.yaml").write_text("name: Default\n")
    Tracker(home=folder).init_database()
    return folder


@pytest.fixture
def tracker(home, monkeypatch):
    monkeypatch.chdir(home)
    return Tracker(home=home)


def read_run(tracker, run_id):
    return open_client(tracker.uri).get_run(run_id)


def test_same_key_is_the_same_run(tracker):
    parent = tracker.start_run("key-parent", "pipeline")
    child = tracker.start_run("key-child", "pretrain", parent=parent, tags={"git": "abc"})
    assert Tracker(tracker.uri).start_run("key-child", "pretrain", parent=parent) == child
    assert child != parent
    run = read_run(tracker, child)
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert run.data.tags["git"] == "abc"
    assert run.info.run_name == "pretrain"


def test_everything_arrives(tracker, home, tmp_path):
    run_id = tracker.start_run("key-all", "all")
    tracker.log_params(run_id, {"model": {"blocks": [1, 2], "lr": 1e-3}, "seed": 7})
    tracker.log_params(run_id, {"seed": 8, "new": 1})
    tracker.log_metrics(run_id, {"loss": 0.5, "odd:name?": float("nan")}, step=3)
    tracker.set_tags(run_id, {"digest": "x"})
    (tmp_path / "report.html").write_text("<p>")
    tracker.log_artifact(run_id, tmp_path / "report.html", "report")
    tracker.log_image(run_id, np.zeros((4, 5, 3), np.uint8), "grid", step=3)
    tracker.finish(run_id)
    run = read_run(tracker, run_id)
    assert run.data.params == {
        "model.blocks": "[1, 2]",
        "model.lr": "0.001",
        "seed": "7",
        "new": "1",
    }
    assert run.data.metrics["loss"] == 0.5
    assert run.data.metrics["odd_name_"] != run.data.metrics["odd_name_"]
    assert run.info.status == "FINISHED"
    artifacts = home / "mlartifacts" / run_id / "artifacts"
    assert (artifacts / "report/report.html").read_text() == "<p>"
    assert (artifacts / "images/grid/00000003.png").read_bytes().startswith(b"\x89PNG")
    assert not list((home / "tracking-spool").rglob("*.png"))


def test_more_rows_than_one_batch(tracker):
    run_id = tracker.start_run("key-many", "many")
    tracker.send_metrics(run_id, [("loss", float(i), 1000 + i, i) for i in range(2500)])
    history = open_client(tracker.uri).get_metric_history(run_id, "loss")
    assert len(history) == 2500


@pytest.mark.parametrize("uri", ["mlruns", "file:///tmp/x", "/tmp/mlruns", "./mlruns"])
def test_file_store_is_refused(uri):
    with pytest.raises(TrackingError, match=r"tracking\.uri must be"):
        Tracker(uri).init_database()


def test_dead_server_is_one_sentence(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    uri = f"http://user:hunter2@127.0.0.1:{free_port()}"
    start = time.monotonic()
    with pytest.raises(TrackingError, match="could not be reached") as caught:
        Tracker(uri).start_run("k", "n")
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - start < 20


def test_unwritable_database_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingError, match="could not be reached"):
        Tracker(f"sqlite:///{tmp_path}/file/mlflow.db").start_run("k", "n")


def test_forwarder_sends_each_event_once_and_only_grows(tracker, tmp_path):
    run_id = tracker.start_run("key-forward", "forward")
    path = tmp_path / "progress.jsonl"
    journal = Journal(path)
    for report in range(1, 6):
        journal.append(report, {"step": report * 10, "loss": 1 / report}, False)
    forwarder = JournalForwarder(path, tracker.tracked(run_id), tracker)
    assert forwarder.forward() == 5
    assert forwarder.forward() == 0
    # A resume goes back to report 3: what was sent stays, what is new follows.
    for report in range(4, 8):
        journal.append(report, {"step": report * 10, "loss": 1 / report}, False)
    assert forwarder.forward() == 2
    steps = [m.step for m in open_client(tracker.uri).get_metric_history(run_id, "loss")]
    assert sorted(steps) == [10, 20, 30, 40, 50, 60, 70]


def test_flatten():
    assert flatten({"a": {"b": {"c": 1}}, "d e:f": "x" * 7000})["a.b.c"] == "1"
    assert len(flatten({"long": "x" * 7000})["long"]) == 6000


@pytest.mark.slow
def test_server_that_goes_away_loses_nothing(tmp_path, monkeypatch):
    """What is logged while the server is down arrives, in order, when it is back."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    port = free_port()
    server = start_server(tmp_path, port)
    try:
        tracker = Tracker(f"http://127.0.0.1:{port}", home=tmp_path)
        run_id = tracker.start_run("key", "run")
        tracker.log_metrics(run_id, {"loss": 1.0}, 1)
        stop(server)
        tracker.log_metrics(run_id, {"loss": 2.0}, 2)
        note = tmp_path / "note.txt"
        note.write_text("kept")
        tracker.log_artifact(run_id, note)
        note.unlink()
        tracker.finish(run_id)
        assert tracker.replay() > 0
        server = start_server(tmp_path, port)
        # Another process, later: the spool lies on disk.
        assert Tracker(tracker.uri, home=tmp_path).replay() == 0
        client = open_client(tracker.uri)
        assert [m.value for m in client.get_metric_history(run_id, "loss")] == [1.0, 2.0]
        assert client.get_run(run_id).info.status == "FINISHED"
        assert [f.path for f in client.list_artifacts(run_id)] == ["note.txt"]
    finally:
        stop(server)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_server(folder, port):
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--backend-store-uri", f"sqlite:///{folder}/server.db"]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--workers", "1"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with open(folder / "server.log", "ab") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return process
        except OSError:
            time.sleep(0.2)
    raise AssertionError((folder / "server.log").read_text())


def stop(server):
    """End the server with its worker processes: its own process group."""
    if server.poll() is None:
        os.killpg(server.pid, 15)
        server.wait(20)
