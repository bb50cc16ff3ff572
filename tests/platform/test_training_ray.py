"""run_ray on a real Ray: two Gloo workers, kill -9 of everything, failures in one sentence."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from nitrogen.platform.errors import ClusterError, DataError, TrainingError
from nitrogen.platform.tracking import Tracker
from nitrogen.platform.tracking_client import open_client
from nitrogen.platform.training_journal import JOURNAL_NAME, read_events

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

HERE = Path(__file__).parent
CONFIG = {"steps": 40, "every": 8}

DRIVER = """
import sys
from nitrogen.platform.cluster import start_embedded
from nitrogen.platform.training_ray import run_ray
with start_embedded(num_cpus=2, object_store_bytes=150 * 1024**2):
    run_ray("ray_train_fns:linear", {"steps": 40, "every": 8, "sleep_s": 0.5},
            name="killed", storage_path=sys.argv[1], num_workers=2)
"""


def final_state(result):
    return torch.load(result.checkpoint / "state.pt", weights_only=True)


@pytest.fixture(scope="module")
def killed_run(tmp_path_factory):
    """Storage of a run whose driver was killed with -9 after its first checkpoint.

    Its steps are slow: workers outlive their driver for seconds and must not reach the end.
    """
    storage = tmp_path_factory.mktemp("a b")
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    process = subprocess.Popen([sys.executable, "-c", DRIVER, str(storage)], env=environment)
    journal = storage / "killed" / JOURNAL_NAME
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline and process.poll() is None:
        if any(event["report"] >= 10 for event in read_events(journal)):
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    last = max(event["report"] for event in read_events(journal))
    assert 10 <= last < 39, last
    return storage


def test_resume_after_kill_is_bit_identical(killed_run, embedded_ray, tmp_path):
    from nitrogen.platform.training_ray import run_ray

    tracker = Tracker(home=tmp_path)
    run_id = tracker.start_run("key", "train")
    seen = []
    whole = run_ray(
        "ray_train_fns:linear",
        CONFIG,
        name="whole",
        storage_path=tmp_path / "runs",
        on_report=seen.append,
        tracking=tracker.tracked(run_id),
    )
    # Ray writes its list of checkpoints in place: half a list is what a worse moment leaves.
    snapshot = killed_run / "killed" / "checkpoint_manager_snapshot.json"
    snapshot.write_bytes(snapshot.read_bytes()[:100])
    (killed_run / "killed" / "checkpoint_9999-half").mkdir()
    resumed_events = []
    resumed = run_ray(
        "ray_train_fns:linear",
        CONFIG,
        name="killed",
        storage_path=killed_run,
        on_report=resumed_events.append,
    )
    first, second = final_state(whole), final_state(resumed)
    assert first["step"] == second["step"] == 40
    for name, value in first["model"].items():
        assert torch.equal(value, second["model"][name])
    # It went on from a checkpoint (workers outlive their driver for a moment, so not surely the
    # first), and no report is missing or doubled, checkpoint or not.
    assert resumed_events[0]["metrics"]["step"] in (9, 17, 25, 33)
    assert [row["step"] for row in resumed.history] == list(range(1, 41))
    assert [event["metrics"]["step"] for event in seen] == list(range(1, 41))
    assert {row["threads"] for row in whole.history} == {1}
    assert whole.metrics["loss"] == resumed.metrics["loss"]
    kept = [p.name for p in (killed_run / "killed").glob("checkpoint_*-*")]
    assert len(kept) == 2
    losses = open_client(tracker.uri).get_metric_history(run_id, "loss")
    assert [metric.step for metric in losses] == list(range(1, 41))


def test_workers_get_variables_and_stay_in_their_folder(embedded_ray, tmp_path, monkeypatch):
    import ray_train_fns

    from nitrogen.platform.training_ray import run_ray

    monkeypatch.setenv("NITROGEN_TEST", "forwarded")
    result = run_ray(ray_train_fns.facts, {}, name="facts", storage_path=tmp_path, num_workers=1)
    text = (result.checkpoint / "facts.txt").read_text()
    assert text.startswith("forwarded gloo ")
    assert str(tmp_path) not in text


def test_failures_are_the_trainings_own(embedded_ray, tmp_path):
    from nitrogen.platform.training_ray import run_ray

    options = {"storage_path": tmp_path, "num_workers": 1, "max_failures": 0}
    with pytest.raises(DataError, match=r"^data must exist, got nothing\. Prepare it first\.$"):
        run_ray("ray_train_fns:mistaken", {}, name="mistaken", **options)
    with pytest.raises(TrainingError, match="ZeroDivisionError: a bug") as caught:
        run_ray("ray_train_fns:broken", {}, name="broken", **options)
    assert "\n" not in str(caught.value)
    assert "ZeroDivisionError" in (tmp_path / "broken" / "error.txt").read_text()


def test_more_workers_than_the_cluster_holds(embedded_ray, tmp_path):
    from nitrogen.platform.training_ray import run_ray

    with pytest.raises(ClusterError, match="num_workers must fit the cluster, got 3"):
        run_ray("ray_train_fns:linear", CONFIG, name="big", storage_path=tmp_path, num_workers=3)
