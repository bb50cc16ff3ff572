"""What trainings, trials and single computations ask of Ray for a recipe's executor."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from nitrogen.pipelines import placement
from nitrogen.pipelines.context import StepContext, StepOutput
from nitrogen.pipelines.evaluation.trials import run_trials
from nitrogen.pipelines.executor import ExecutorConfig
from nitrogen.pipelines.steps.sweep_config import SweepConfig
from nitrogen.pipelines.training.launch import launch
from nitrogen.platform import gpu_task, sweeps, training
from nitrogen.platform.mirror import Mirror

DONE = SimpleNamespace(trials=[])
ON_GPU = {"use_gpu": True, "precision": "bf16"}


def context_of(tmp_path, **executor):
    settings = ExecutorConfig(**executor)
    prepared = StepOutput(tmp_path, {"data_uri": "x"})
    return StepContext(
        dir=tmp_path, executor=settings.mode, settings=settings, key="k" * 64,
        inputs={"prepare": prepared},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("executor", "use_gpu", "checked"),
    [({}, False, True), (ON_GPU, True, True),
     ({**ON_GPU, "kind": "address", "address": "auto"}, True, False)],
)  # fmt: skip
def test_training_workers(tmp_path, monkeypatch, executor, use_gpu, checked):
    asked = {}
    monkeypatch.setattr(training, "run_ray", lambda fn, config, **options: asked.update(options))
    launch("a:b", {"optim": {"batch_size": 8}}, context_of(tmp_path, **executor))
    assert (asked["use_gpu"], asked["check_resources"]) == (use_gpu, checked)


def test_training_in_this_process(tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(
        training, "run_local", lambda fn, config, run_dir, watch, **options: asked.update(options)
    )
    context = context_of(tmp_path, kind="local", device="cuda")
    launch("a:b", {"optim": {"batch_size": 8}}, context)
    assert asked["device"] == "cuda"


@pytest.mark.parametrize(
    ("executor", "expected"), [({}, {"CPU": 1}), (ON_GPU, {"CPU": 1, "GPU": 1})]
)
def test_trials(tmp_path, monkeypatch, executor, expected):
    asked = {}

    def run_sweep(objective, space, **options):
        asked.update(options)
        return SimpleNamespace(trials=[])

    monkeypatch.setattr(sweeps, "run_sweep", run_sweep)
    run_trials(SweepConfig(), {}, context_of(tmp_path, **executor))
    assert asked["resources_per_trial"] == expected


def test_what_is_no_trial_goes_beside_the_gpu_of_a_cluster(monkeypatch):
    monkeypatch.setattr(gpu_task, "call_with_gpu", lambda address, work: (address, work()))
    on_cluster = {"kind": "address", "address": "head:6379"}
    for executor, expected in (
        ({}, 7), (ON_GPU, 7), (on_cluster, 7), ({**ON_GPU, **on_cluster}, ("head:6379", 7)),
    ):  # fmt: skip
        assert placement.beside_gpu(ExecutorConfig(**executor), lambda: 7) == expected


def test_workers_of_a_run_in_a_bucket_are_told_of_the_bucket_alone(tmp_path, monkeypatch):
    run, bucket, asked = tmp_path / "run", str(tmp_path / "bucket"), {}
    step = run / "steps" / "sweep-1"
    for name in ("prepare/data/manifest.json", "pretrain/teacher/model.safetensors",
                 "distill/student/model.safetensors", "sweep-1/reference.npz"):  # fmt: skip
        path = run / "steps" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    (run / "steps/pretrain/teacher/config.json").write_text('{"arch": {}}')
    monkeypatch.setattr(training, "run_ray", lambda fn, config, **rest: asked.update(rest))
    monkeypatch.setattr(
        sweeps, "run_sweep", lambda objective, space, **rest: asked.update(rest) or DONE
    )
    context = replace(
        context_of(step, kind="address", address="auto"), dir=step, mirror=Mirror(run, bucket)
    )
    launch("a:b", {"optim": {"batch_size": 8}}, context)
    assert asked["storage_path"].startswith(f"{bucket}/.shared/sweep-1")
    run_trials(SweepConfig(), {}, context)
    assert asked["storage_path"].startswith(f"{bucket}/.shared/sweep-1")
    for name in ("pretrain/teacher/model.safetensors", "prepare/data", "sweep-1/reference.npz"):
        told = context.for_workers(run / "steps" / name)
        assert told == f"{bucket}/steps/{name}"
        assert Path(told).exists()


@pytest.mark.ray
def test_a_task_holds_a_gpu_and_its_error_comes_back(embedded_ray):
    from nitrogen.platform.errors import DataError

    def held():
        import ray

        return ray.get_gpu_ids()

    def fails():
        raise DataError("no pictures. Add some.")

    assert gpu_task.call_with_gpu("auto", held) == [0]
    with pytest.raises(DataError, match=r"no pictures\. Add some"):
        gpu_task.call_with_gpu("auto", fails)
