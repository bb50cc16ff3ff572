"""A whole recipe as a job on two nodes, its run folder in a bucket of a real S3 server.

The wheel travels, not the working tree; twice is one run; logs and status from another shell.
"""

import importlib.util
import json
import os
from pathlib import Path

import boto3
import pytest

from nitrogen.pipelines.training.state import TENSORS
from nitrogen.platform import storage
from nitrogen.platform.mirror_lock import LOCK

pytestmark = [pytest.mark.ray, pytest.mark.s3, pytest.mark.timeout(600)]


def beside(name, *parts):
    """Another module of tests, for its fixtures and commands."""
    path = Path(__file__).parent.joinpath(*parts)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


s3 = beside("s3_fixtures", "..", "platform", "test_storage_s3.py")
jobs = beside("job_fixtures", "test_submit_ray.py")
server, shipped = s3.server, jobs.shipped
OUT, SOURCE = "s3://runs/team/tiny", "s3://runs/pictures"


@pytest.fixture(scope="module")
def cluster(server, tmp_path_factory, request):
    """Two nodes that find the bucket by themselves: credentials never travel with a job."""
    with s3.bucket_environment(server) as patch:
        patch.setenv("NITROGEN_HOME", str(tmp_path_factory.mktemp("home")))
        boto3.client("s3").create_bucket(Bucket="runs")
        # Now: nodes and their workers have the environment in which they were started.
        yield request.getfixturevalue("two_nodes")


def test_a_recipe_into_a_bucket(cluster, shipped, few_pictures, tmp_path, monkeypatch):
    address, _, token = cluster
    for path in few_pictures.rglob("*.png"):
        storage.upload(path, f"{SOURCE}/{path.relative_to(few_pictures)}")
    submit = jobs.submission(address, shipped, OUT, f"prepare.source={SOURCE}")
    first = json.loads(jobs.nitrogen(*submit))
    second = json.loads(jobs.nitrogen(*submit))
    assert (first["created"], second["created"]) == (True, False)
    assert first["job"] == second["job"]
    assert first["out"] == OUT
    printed = jobs.nitrogen("logs", first["job"], "-f", "--address", address)
    told = json.loads(jobs.nitrogen("status", first["job"], "--address", address, "--json"))
    assert told["state"] == "succeeded", printed[-3000:]
    assert printed.strip().splitlines()[-1] == f"{OUT}/summary.json"

    names = storage.list_files(OUT)
    assert LOCK not in names, "the lock is released"
    summary = json.loads(storage.read_bytes(f"{OUT}/summary.json"))
    assert {row["state"] for row in summary["steps"].values()} == {"done"}
    assert summary["champion"]["version"] == "1"
    assert summary["report"].startswith(f"{OUT}/steps/report-")
    assert b"<html" in storage.read_bytes(summary["report"])[:1000]
    for step in ("pretrain", "distill"):  # what the workers wrote there themselves
        kept = [name for name in names if name.startswith(f".shared/{step}-") and TENSORS in name]
        assert kept, f"no checkpoint of {step} in {names}"
    evaluated = f"{summary['steps']['evaluate']['dir']}/result.json"
    made_by = json.loads(storage.read_bytes(evaluated))["commit"]
    assert made_by.startswith("nitrogen "), "the wheel ran, not the working tree"
    for step, row in summary["steps"].items():
        assert row["dir"].startswith(f"{OUT}/steps/{step}-")
        assert storage.exists(f"{row['dir']}/_SUCCESS.json")

    assert json.loads(jobs.nitrogen(*submit))["created"] is False, "done is done"
    listed = json.loads(jobs.nitrogen("status", "--address", address, "--json"))
    assert [row["job"] for row in listed] == [first["job"]]

    # Another machine reads from the bucket what the cluster made.
    monkeypatch.setenv("NITROGEN_HOME", str(tmp_path / "elsewhere"))
    picture = tmp_path / "x.png"
    jobs.nitrogen("generate", "--run", OUT, "--steps", "2", "--out", picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "finished" in jobs.nitrogen("status", OUT)

    logs = dict(texts_of(Path(os.environ["RAY_AUTH_TOKEN_PATH"]).parent))
    assert any(path.name.startswith("job-driver-") for path in logs), "Ray's logs lie there"
    logs |= {name: storage.read_bytes(f"{OUT}/{name}") for name in names}
    logs["printed"] = printed.encode()
    for secret in (s3.SECRET_KEY, token):
        assert [str(name) for name, text in logs.items() if secret.encode() in text] == []


def texts_of(folder):
    """Every log of Ray's nodes below their folder, and nothing that is not a log."""
    for path in folder.rglob("logs/**/*"):
        if path.is_file() and not path.is_symlink():
            yield path, path.read_bytes()
