"""A recipe as a job on two nodes: stop and status from another shell, going on, a wrong token.

test_submit_s3_ray.py runs a whole one.
"""

import json
import time

import pytest
from submissions import nitrogen, submission

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


def test_stop_from_another_shell_and_go_on(two_nodes, built_wheel, tmp_path):
    address, folder = two_nodes[0], tmp_path / "run"
    submit = submission(address, built_wheel, folder, "pretrain.optim.num_images=100_000_000")
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
