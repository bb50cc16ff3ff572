"""kill -9 of a distillation on two Ray workers: run again, the weights of an undisturbed one.

Both stages share one loop; the student's has more to lose: roll-outs, predictor, averaged weights.
The undisturbed one runs without Ray, as two processes that meet in a file.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from nitrogen.model.denoiser import Denoiser
from nitrogen.model.weights import load_tensors, prefixed, save_tensors
from nitrogen.pipelines.training.state import TENSORS
from nitrogen.platform.tracking import Tracker
from nitrogen.platform.tracking_client import open_client
from nitrogen.platform.training_checkpoints import newest_checkpoint
from nitrogen.platform.training_journal import JOURNAL_NAME, read_events

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

TRAIN = "nitrogen.pipelines.training.student:train_student"
DRIVER = """
import json, sys
from nitrogen.platform.cluster import start_embedded
from nitrogen.platform.training_ray import run_ray
train_fn, config, storage = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
with start_embedded(num_cpus=2, object_store_bytes=150 * 1024**2):
    run_ray(train_fn, config, name="killed", storage_path=storage, num_workers=2)
"""

UNDISTURBED = """
import json, sys, torch
from pathlib import Path
from nitrogen.pipelines.training.student import train_student
from nitrogen.platform.training import LocalSession
rank, config, folder = int(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3])
torch.set_num_threads(1)
meeting = f"file://{folder}/meeting"
torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
session = LocalSession(folder / str(rank))
session.rank, session.world_size = rank, 2
train_student(config, session)
torch.distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def settings(arch, data_uri, tmp_path_factory):
    """What both stages read; the student's teacher is a network of random weights."""
    torch.manual_seed(0)
    weights = tmp_path_factory.mktemp("teacher") / "model.safetensors"
    save_tensors(weights, prefixed("denoiser.", Denoiser(arch).state_dict()))
    optim = {
        "num_images": 800, "batch_size": 8, "warmup_images": 80, "checkpoint_interval_s": 0.5,
        "optimizer": "muon",
    }  # fmt: skip
    return {
        "arch": arch.model_dump(mode="json"), "noise": {}, "student": {}, "optim": optim,
        "data_uri": data_uri, "seed": 0, "precision": "fp32", "teacher": str(weights),
    }  # fmt: skip


def run_until_killed(config: dict, storage: Path, kill_tree) -> int:
    """Kills the driver and all that it started with -9 after the first checkpoint; returns how
    many images that had. (Left alone, the workers of a killed driver train on for seconds.)"""
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, TRAIN, json.dumps(config), str(storage)]
    )
    journal = storage / "killed" / JOURNAL_NAME
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline and process.poll() is None:
        if any(event["checkpoint"] for event in read_events(journal)):
            break
        time.sleep(0.01)
    kill_tree(process.pid)
    process.wait()
    events = list(read_events(journal))
    assert max(event["metrics"]["images"] for event in events) < config["optim"]["num_images"]
    return next(event["metrics"]["images"] for event in events if event["checkpoint"])


def undisturbed(config: dict, folder: Path) -> dict[str, torch.Tensor]:
    """The final state of the same training on two ranks without Ray."""
    folder.mkdir()
    command = [sys.executable, "-c", UNDISTURBED]
    ranks = [
        subprocess.Popen([*command, str(rank), json.dumps(config), str(folder)]) for rank in (0, 1)
    ]
    assert [process.wait(timeout=200) for process in ranks] == [0, 0]
    return load_tensors(newest_checkpoint(folder / "0" / "checkpoints") / TENSORS)


def test_killed_training_ends_in_the_same_weights(settings, embedded_ray, tmp_path, kill_tree):
    from nitrogen.platform.training_ray import run_ray

    kept = run_until_killed(settings, tmp_path / "cut", kill_tree)
    # Ray writes its list of checkpoints in place: half a list is what a worse moment leaves.
    snapshot = tmp_path / "cut" / "killed" / "checkpoint_manager_snapshot.json"
    snapshot.write_bytes(snapshot.read_bytes()[:100])
    (tmp_path / "cut" / "killed" / "checkpoint_9999-half").mkdir()
    first = []
    tracker = Tracker(home=tmp_path)
    run_id = tracker.start_run("key", "train")
    resumed = run_ray(
        TRAIN, settings, name="killed", storage_path=tmp_path / "cut",
        num_workers=2, on_report=first.append, tracking=tracker.tracked(run_id),
    )  # fmt: skip
    assert first[0]["metrics"]["images"] > kept > 0  # went on, not from the start
    expected = undisturbed(settings, tmp_path / "whole")
    got = load_tensors(resumed.checkpoint / TENSORS)
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[name], expected[name]) for name in expected)

    # No report is doubled or out of order, before and after the kill; all of them are tracked.
    steps = [row["step"] for row in resumed.history]
    assert steps == sorted(set(steps))
    assert steps[-1] == settings["optim"]["num_images"] // settings["optim"]["batch_size"]
    checkpoints = [p.name for p in (tmp_path / "cut" / "killed").glob("checkpoint_*-*")]
    assert 1 <= len(checkpoints) <= 2, "the half one and the old ones are gone"
    losses = open_client(tracker.uri).get_metric_history(run_id, "loss")
    assert [metric.step for metric in losses] == steps
