"""A training and a sweep whose storage is a real S3 server."""

import pytest

from nitrogen.platform import storage
from nitrogen.platform.sweeps import run_sweep

pytestmark = [pytest.mark.ray, pytest.mark.s3, pytest.mark.timeout(280)]


@pytest.fixture(scope="module")
def bucket(s3_server, bucket_at_hand):
    import boto3

    boto3.client("s3").create_bucket(Bucket="runs")
    return "s3://runs"


def test_training_resumes_on_another_machine(bucket, embedded_ray, tmp_path, monkeypatch):
    """Another local folder is another machine: checkpoint and journal come from the bucket."""
    from nitrogen.platform.training_ray import run_ray

    monkeypatch.setenv("NITROGEN_TEST", "forwarded")
    options = {"name": "x", "storage_path": f"{bucket}/train", "num_workers": 1}
    steps = {"every": 4}
    first = run_ray(
        "ray_train_fns:linear", {**steps, "steps": 8}, local_dir=tmp_path / "a", **options
    )
    assert (first.checkpoint / "state.pt").is_file()
    seen = (first.checkpoint / "facts.txt").read_text()
    assert seen.startswith("forwarded gloo ")
    assert str(tmp_path) not in seen, "a worker stays in its own folder"
    # A kill in the middle of Ray's own list of checkpoints.
    storage.write_bytes(f"{bucket}/train/x/checkpoint_manager_snapshot.json", b'{"half')
    events = []
    second = run_ray(
        "ray_train_fns:linear",
        {**steps, "steps": 12},
        local_dir=tmp_path / "b",
        on_report=events.append,
        **options,
    )
    assert [event["metrics"]["step"] for event in events] == [9, 10, 11, 12]
    assert [row["step"] for row in second.history] == list(range(1, 13))


def test_sweep_keeps_its_journal_there(bucket, embedded_ray):
    options = {"name": "s", "storage_path": f"{bucket}/sweeps"}
    space = {"x": {"low": 0.0, "high": 1.0}}

    def objective(config, report):
        return {"distance": config["x"], "gflops": 1 - config["x"]}

    first = run_sweep(objective, space, num_trials=1, **options)
    second = run_sweep(objective, space, num_trials=2, **options)
    assert second.trials[0] == first.trials[0]
    assert len(second.pareto) == 2
