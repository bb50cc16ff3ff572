"""A whole recipe as a job on two nodes, its run folder in a bucket of a real S3 server.

The wheel travels, not the working tree; twice is one run; logs and status from another shell.
"""

import json
import os
from pathlib import Path

import boto3
import pytest
from s3_server import SECRET_KEY
from submissions import nitrogen, submission

from nitrogen.pipelines.training.state import TENSORS
from nitrogen.platform import storage
from nitrogen.platform.mirror_lock import LOCK

pytestmark = [pytest.mark.ray, pytest.mark.s3, pytest.mark.timeout(600)]


OUT, SOURCE = "s3://runs/team/tiny", "s3://runs/pictures"


def test_a_recipe_into_a_bucket(
    two_nodes, s3_server, built_wheel, few_pictures, tmp_path, monkeypatch
):
    address, _, token = two_nodes
    boto3.client("s3").create_bucket(Bucket="runs")
    for path in few_pictures.rglob("*.png"):
        storage.upload(path, f"{SOURCE}/{path.relative_to(few_pictures)}")
    submit = submission(address, built_wheel, OUT, f"prepare.source={SOURCE}")
    first = json.loads(nitrogen(*submit))
    second = json.loads(nitrogen(*submit))
    assert (first["created"], second["created"]) == (True, False)
    assert first["job"] == second["job"]
    assert first["out"] == OUT
    printed = nitrogen("logs", first["job"], "-f", "--address", address)
    told = json.loads(nitrogen("status", first["job"], "--address", address, "--json"))
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
    grids = [name for name in names if "samples" in name and "/artifacts/" in name]
    assert grids, f"no grid of samples came to MLflow: {names}"
    evaluated = f"{summary['steps']['evaluate']['dir']}/result.json"
    made_by = json.loads(storage.read_bytes(evaluated))["commit"]
    assert made_by.startswith("nitrogen "), "the wheel ran, not the working tree"
    for step, row in summary["steps"].items():
        assert row["dir"].startswith(f"{OUT}/steps/{step}-")
        assert storage.exists(f"{row['dir']}/_SUCCESS.json")

    assert json.loads(nitrogen(*submit))["created"] is False, "done is done"
    listed = json.loads(nitrogen("status", "--address", address, "--json"))
    listed = [row["job"] for row in listed]
    assert [job for job in listed if job.startswith(first["job"])] == [first["job"]]

    # Another machine reads from the bucket what the cluster made.
    monkeypatch.setenv("NITROGEN_HOME", str(tmp_path / "elsewhere"))
    picture = tmp_path / "x.png"
    nitrogen("generate", "--run", OUT, "--steps", "2", "--out", picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "finished" in nitrogen("status", OUT)

    logs = dict(texts_of(Path(os.environ["RAY_AUTH_TOKEN_PATH"]).parent))
    assert any(path.name.startswith("job-driver-") for path in logs), "Ray's logs lie there"
    logs |= {name: storage.read_bytes(f"{OUT}/{name}") for name in names}
    logs["printed"] = printed.encode()
    for secret in (SECRET_KEY, token):
        assert [str(name) for name, text in logs.items() if secret.encode() in text] == []


def texts_of(folder):
    """Every log of Ray's nodes below their folder, and nothing that is not a log."""
    for path in folder.rglob("logs/**/*"):
        if path.is_file() and not path.is_symlink():
            yield path, path.read_bytes()
