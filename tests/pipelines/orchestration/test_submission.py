"""Submitting: what travels, the same recipe twice, and the commands that look at jobs."""

from __future__ import annotations

import json

import pytest

from nitrogen.pipelines import cli, submission
from nitrogen.pipelines.step_table import STEPS
from nitrogen.platform import jobs
from nitrogen.platform.errors import ConfigError


@pytest.fixture
def sent(pipeline, recipe_file, monkeypatch):
    """The calls that reach the cluster, over the fake steps, in the recipe's folder."""
    shipped = dict(STEPS)
    STEPS.clear()
    STEPS.update(pipeline.steps)
    calls: list[dict] = []

    def submit(recipe, overrides=(), **rest):
        calls.append({"recipe": json.loads(recipe), "overrides": overrides, **rest})
        return jobs.Job(jobs.submission_id(recipe, name=rest["name"]), "PENDING", created=True)

    monkeypatch.setattr(jobs, "submit", submit)
    monkeypatch.setattr(submission, "package_to_ship", lambda scratch: scratch)
    monkeypatch.chdir(recipe_file.parent)
    yield calls
    STEPS.clear()
    STEPS.update(shipped)


def test_the_resolved_recipe_travels(sent, recipe_file, capsys):
    (recipe_file.parent / "child.yaml").write_text("extends: tiny.yaml\nname: child\n")
    arguments = ["submit", "child.yaml", "--address", "http://head:8265", "--set", "seed=4"]
    assert cli.invoke([*arguments, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["job"].startswith("child-")
    assert row["state"] == "pending"
    assert row["out"] == "~/nitrogen-runs/child"
    (call,) = sent
    assert call["recipe"]["train"]["gating_penalty"] == 0.2, "extends is resolved here"
    assert call["recipe"]["seed"] == 4
    assert call["overrides"] == ()
    assert cli.invoke([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["job"] == row["job"], "the same recipe, the same run"


def test_a_wrong_recipe_never_reaches_the_cluster(sent, capsys):
    assert cli.invoke(["submit", "tiny.yaml", "--address", "x:1", "--set", "train.lr=3"]) == 2
    assert sent == []
    with pytest.raises(ConfigError, match="--out must be s3://bucket/run, or a folder"):
        submission.submit_recipe("tiny.yaml", "x:1", "gs://bucket/run", [])


def test_a_dead_cluster_is_one_sentence(capsys):
    code = cli.invoke(["status", "demo-0123", "--address", "http://127.0.0.1:9"])
    assert code == 5
    err = capsys.readouterr().err
    assert err.startswith("error: no Ray cluster answers at 127.0.0.1:9")
    assert "Traceback" not in err


@pytest.mark.parametrize("out", ["s3://", "s3://bucket", "s3:///run"])
def test_a_bucket_needs_a_folder(sent, capsys, out):
    assert cli.invoke(["run", "tiny.yaml", "--out", out]) == 2
    assert "must be s3://bucket/run" in capsys.readouterr().err
    assert cli.invoke(["submit", "tiny.yaml", "--out", out, "--address", "x:1"]) == 2
    assert sent == []


def test_another_store_is_no_run_folder(sent, capsys):
    assert cli.invoke(["run", "tiny.yaml", "--out", "gs://bucket/run"]) == 4
    told = capsys.readouterr().err
    assert "a run folder must be a local path or s3://bucket/run, got gs:/bucket/run" in told


def test_looking_at_jobs(monkeypatch, capsys):
    job = jobs.Job("demo-1", "RUNNING", recipe="demo")
    monkeypatch.setattr(jobs, "status", lambda address, name: job)
    monkeypatch.setattr(jobs, "list_jobs", lambda address: [job])
    monkeypatch.setattr(jobs, "stop", lambda address, name: jobs.Job("demo-1", "STOPPED"))
    monkeypatch.setattr(
        jobs, "logs", lambda address, name, follow=False: iter(["one\ntw", "o\nthr", "ee"])
    )
    at = ["--address", "http://head:8265"]
    assert cli.invoke(["status", "demo-1", *at, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "running"
    assert cli.invoke(["status", *at]) == 0
    assert "demo-1" in capsys.readouterr().out
    for follow in ([], ["-f"]):
        assert cli.invoke(["logs", "demo-1", *at, *follow]) == 0
        assert capsys.readouterr().out == "one\ntwo\nthree\n"
    assert cli.invoke(["logs", "demo-1", *at, "--tail", "1"]) == 0
    assert capsys.readouterr().out == "three\n"
    assert cli.invoke(["stop", "demo-1", *at]) == 0
    assert "stopped" in capsys.readouterr().out
