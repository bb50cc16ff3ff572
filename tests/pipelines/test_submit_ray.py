"""A recipe as a job on two nodes: stop and status from another shell, going on, a wrong token.

test_submit_s3_ray.py runs a whole one.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

# The whole loop with the least of everything; the first champion needs no quality.
SHORT = (
    "prepare.image_size=16", "executor.precision=fp32",
    "pretrain.arch={channels: [16, 32], num_blocks: [1, 1], head_channels: 16}",
    "pretrain.optim.num_images=640", "distill.optim.num_images=128",
    "sweep.num_trials=1", "sweep.num_images=4", "sweep.optim.num_images=64",
    "sweep.thresholds=[0.001]", "sweep.full_steps=[4, 12]", "sweep.reference_steps=4",
    "evaluate.num_images=16", "evaluate.num_reference=16", "evaluate.num_timings=3",
    "promote.gates=[{metric: compute_ratio, op: <=, bound: 1.0}]",
)  # fmt: skip
CLI = [sys.executable, "-m", "nitrogen.pipelines.cli"]
# The cluster is started without it: there the code comes from the wheel alone.
SOURCE = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}


def nitrogen(*arguments, code=0):
    """A command in a shell of its own; its standard output."""
    done = subprocess.run(
        [*CLI, *map(str, arguments)], env={**os.environ, **SOURCE},
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """The wheel, built once; `submit` would build the same one each time."""
    from nitrogen.platform.wheel import build_wheel

    return build_wheel(Path(__file__).parents[2], tmp_path_factory.mktemp("wheel"))


def submission(address, wheel, out, *changes):
    changes = [f"--set={change}" for change in (*SHORT, *changes)]
    return [
        "submit", "demo", "--address", address, "--out", out, "--wheel", wheel, *changes, "--json",
    ]  # fmt: skip


def test_stop_from_another_shell_and_go_on(two_nodes, shipped, tmp_path):
    address, folder = two_nodes[0], tmp_path / "run"
    submit = submission(address, shipped, folder, "pretrain.optim.num_images=100_000_000")
    job = json.loads(nitrogen(*submit))["job"]
    wait_for(folder / "run.log", "pretrain started")
    stopped = json.loads(nitrogen("stop", job, "--address", address, "--json"))
    assert stopped["state"] == "stopped"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["steps"]["prepare"]["state"] == "done"
    assert summary["steps"]["pretrain"]["state"] == "stopped"
    again = json.loads(nitrogen(*submit))
    assert (again["created"], again["job"]) == (True, f"{job}-2")
    wait_for(folder / "run.log", "prepare cached")
    listed = json.loads(nitrogen("status", "--address", address, "--json"))
    assert {row["job"]: row["state"] for row in listed}[again["job"]] == "running"
    nitrogen("stop", job, "--address", address)


def test_another_token_is_refused(two_nodes, tmp_path, monkeypatch):
    (tmp_path / "token").write_text("wrong")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    told = nitrogen("status", "--address", two_nodes[0], code=5)
    assert "refused the token" in told
    assert "Traceback" not in told


def wait_for(path, text, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if path.is_file() and text in path.read_text():
            return
        time.sleep(0.3)
    raise AssertionError(path.read_text() if path.is_file() else f"no {path}")
