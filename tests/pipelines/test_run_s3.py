"""A run folder in a bucket of a real S3 server: another machine goes on from it.

test_submit_s3_ray.py reads from such a folder.
"""

import json
import os
import subprocess
import sys

import pytest

from nitrogen.platform import storage

pytestmark = [pytest.mark.s3, pytest.mark.slow, pytest.mark.timeout(500)]

OUT = "s3://runs/a/tiny"
RECIPE = [
    "run", "demo", "--out", OUT, "--until", "pretrain", "--set=executor.kind=local",
    "--set=prepare.image_size=16", "--set=executor.precision=fp32",
    "--set=pretrain.arch={channels: [16, 32], num_blocks: [1, 1], head_channels: 16}",
    "--set=pretrain.optim.num_images=640",
]  # fmt: skip


def on_machine(home, *arguments, code=0):
    """A command with its own home, as on another machine."""
    done = subprocess.run(
        [sys.executable, "-m", "nitrogen.pipelines.cli", *map(str, arguments)],
        env={**os.environ, "NITROGEN_HOME": str(home)},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout if code == 0 else done.stderr


def test_run_in_a_bucket(s3_endpoint, tmp_path, monkeypatch):
    import boto3

    boto3.client("s3").create_bucket(Bucket="runs")
    printed = on_machine(tmp_path / "a", *RECIPE)
    assert printed.strip().splitlines()[-1] == f"{OUT}/summary.json"
    summary = json.loads(storage.read_bytes(f"{OUT}/summary.json"))
    assert {row["state"] for row in summary["steps"].values()} == {"done"}
    assert summary["steps"]["pretrain"]["dir"].startswith(f"{OUT}/steps/pretrain-")

    on_machine(tmp_path / "b", *RECIPE)
    again = json.loads(storage.read_bytes(f"{OUT}/summary.json"))
    assert {row["state"] for row in again["steps"].values()} == {"cached"}

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    told = on_machine(tmp_path / "b", *RECIPE, code=4)
    assert "does not answer" in told
    assert "Traceback" not in told
