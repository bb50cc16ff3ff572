"""Submit, status, logs and stop on a real cluster of two nodes, with a token."""

import shlex
import time

import pytest

from nitrogen.platform import cluster, jobs
from nitrogen.platform.errors import ClusterError

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

PROBE = """
import platform, ray
from pathlib import Path
from nitrogen.platform import cluster
with cluster.connect("auto"):
    @ray.remote(num_cpus=1)
    class OnNode:
        def where(self):
            import platform
            from nitrogen.platform import errors
            platform.system()
            return ray.get_runtime_context().get_node_id(), errors.__file__
    found = ray.get([actor.where.remote() for actor in [OnNode.remote(), OnNode.remote()]])
print("recipe:", Path("recipe.yaml").read_text().strip())
print("nodes:", len({node for node, _ in found}))
print("code:", all("py_modules_files" in file for _, file in found))
"""


def wait(address, job_id, token, states=jobs.FINAL):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        job = jobs.status(address, job_id, token)
        if job.status in states:
            return job
        time.sleep(0.3)
    raise AssertionError((job, "".join(jobs.logs(address, job_id, token=token))))


def test_submit_twice_is_one_run_on_two_nodes(two_nodes, built_wheel, monkeypatch):
    address, _, token = two_nodes
    # The caller's own variables must not lead elsewhere.
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    options = {"address": address, "wheel": built_wheel, "token": token, "name": "probe"}
    command = f"python -c {shlex.quote(PROBE)}"
    first = jobs.submit("name: probe", command=command, **options)
    second = jobs.submit("name: probe", command=command, **options)
    assert first.created
    assert not second.created
    assert first.id == second.id == jobs.submission_id("name: probe", name="probe")
    text = "".join(jobs.logs(address, first.id, follow=True, token=token))
    done = wait(address, first.id, token)
    assert done.status == "SUCCEEDED", text
    assert "recipe: name: probe" in text
    assert "nodes: 2" in text
    assert "code: True" in text
    assert not jobs.submit("name: probe", command=command, **options).created
    listed = [job.id for job in jobs.list_jobs(address, token)]
    assert [known for known in listed if known.startswith(first.id)] == [first.id]
    assert done.end_time >= done.start_time > 1.6e9


def test_stop_and_submit_again(two_nodes, built_wheel):
    address, _, token = two_nodes
    options = {"address": address, "wheel": built_wheel, "token": token, "name": "slow"}
    command = "echo started; sleep 300"
    first = jobs.submit("name: slow", command=command, **options)
    wait(address, first.id, token, ("RUNNING",))
    assert jobs.stop(address, first.id, token=token).status == "STOPPED"
    assert jobs.stop(address, first.id, token=token).status == "STOPPED"
    second = jobs.submit("name: slow", command="exit 3", **options)
    assert second.created
    assert second.id == f"{first.id}-2"
    failed = wait(address, first.id, token)
    assert (failed.id, failed.status, failed.exit_code) == (second.id, "FAILED", 3)


def test_wrong_token_and_unknown_job_are_one_sentence(two_nodes, tmp_path, monkeypatch):
    address, head, token = two_nodes
    with pytest.raises(ClusterError, match="refused the token") as caught:
        jobs.list_jobs(address, "wrong")
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    for wrong in ("wrong", None):
        with pytest.raises(ClusterError, match="refused the token"):
            cluster.connect(head, wrong)
    with pytest.raises(ClusterError, match="must know the job, got nothing-here"):
        jobs.status(address, "nothing-here", token)
