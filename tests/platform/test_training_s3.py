"""A training and a sweep whose storage is a real S3 server."""

import importlib.util
from pathlib import Path

import pytest

from nitrogen.platform import storage
from nitrogen.platform.sweeps import run_sweep

pytestmark = [pytest.mark.ray, pytest.mark.s3, pytest.mark.timeout(280)]

# The server is started as in the tests of the storage itself.
_path = Path(__file__).with_name("test_storage_s3.py")
_spec = importlib.util.spec_from_file_location("s3_fixtures", _path)
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)
server = _fixtures.server


@pytest.fixture(scope="module")
def bucket(server):
    """A bucket, with the environment that leads there set before Ray starts."""
    import boto3

    with _fixtures.bucket_environment(server):
        boto3.client("s3").create_bucket(Bucket="runs")
        yield "s3://runs"


def test_training_resumes_on_another_machine(bucket, embedded_ray, tmp_path):
    """Another local folder is another machine: checkpoint and journal come from the bucket."""
    from nitrogen.platform.training_ray import run_ray

    options = {"name": "x", "storage_path": f"{bucket}/train", "num_workers": 1}
    steps = {"every": 4}
    first = run_ray(
        "ray_train_fns:linear", {**steps, "steps": 8}, local_dir=tmp_path / "a", **options
    )
    assert (first.checkpoint / "state.pt").is_file()
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
