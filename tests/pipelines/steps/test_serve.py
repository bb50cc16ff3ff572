"""The serve step: settings without Ray, the smoke check on a real Serve."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from nitrogen.pipelines.context import StepContext, StepOutput
from nitrogen.pipelines.executor import ExecutorConfig
from nitrogen.pipelines.steps.serve import ServeConfig, run
from nitrogen.platform.audit import AuditLog
from nitrogen.platform.gates import Gate
from nitrogen.platform.promotion import promote
from nitrogen.platform.registry import Registry

FAKE = Path(__file__).parents[2] / "platform" / "serving" / "fake_generator.py"


def test_gpu_recipes_ask_for_one_gpu_a_replica():
    assert ServeConfig().settings().num_gpus == 0
    gpu = ExecutorConfig(use_gpu=True)
    assert ServeConfig().settings(gpu).num_gpus == 1
    assert ServeConfig(num_gpus=0.5).settings(gpu).num_gpus == 0.5


@pytest.mark.parametrize(
    ("executor", "serve", "expected"),
    [
        ({"precision": "bf16"}, {}, ("cpu", "fp32")),  # bits are promised on the CPU
        ({"sampling_precision": "bf16"}, {}, ("cpu", "bf16")),
        ({"use_gpu": True, "precision": "bf16"}, {}, ("cuda", "bf16")),
        ({"use_gpu": True}, {"generator_options": {"precision": "bf16"}}, ("cuda", "bf16")),
        ({}, {"num_gpus": 0.5}, ("cuda", "fp32")),
    ],
)
def test_device_and_precision_of_a_replica_are_the_recipes(executor, serve, expected):
    options = ServeConfig(**serve).settings(ExecutorConfig(**executor)).generator_options
    assert (options["device"], options["precision"]) == expected


def test_another_generator_gets_only_what_was_named():
    config = ServeConfig(generator="mine:load", generator_options={"size": 3})
    assert config.settings(ExecutorConfig(use_gpu=True)).generator_options == {"size": 3}


@pytest.mark.parametrize(
    "fields",
    [{"min_replicas": 3}, {"max_replicas": 0}, {"port": 70000}, {"hosts": "x"}, {"num_gpus": -1}],
)
def test_bad_settings_are_refused(fields):
    with pytest.raises(ValidationError):
        ServeConfig(**fields)


def test_replicas_out_of_order_name_the_remedy():
    with pytest.raises(ValidationError, match="Raise max_replicas"):
        ServeConfig(min_replicas=3, max_replicas=2)


def test_without_a_champion_there_is_nothing_to_serve(tmp_path):
    promoted = StepOutput(tmp_path, {"name": "demo", "champion": None})
    result = run(ServeConfig(), StepContext(dir=tmp_path, inputs={"promote": promoted}))
    assert result["request"] is None
    assert "gates" in result["skipped"]


@pytest.mark.ray
def test_one_request_is_checked_and_nothing_keeps_running(tmp_path, monkeypatch):
    import importlib.util

    import ray

    spec = importlib.util.spec_from_file_location("fake_generator", FAKE)
    fake = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fake)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    registry = Registry(uri)
    registry.register(fake.make_bundle(tmp_path / "bundle"), "demo", metrics={"fd": 1.0})
    gates = [Gate(metric="fd", op="<=", bound=2.0)]
    promote(registry, "demo", "1", gates, AuditLog(tmp_path / "audit.jsonl"))
    paths = [str(FAKE.parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.delenv("NITROGEN_API_KEYS", raising=False)
    step = tmp_path / "serve"
    step.mkdir()
    context = StepContext(
        dir=step,
        inputs={"promote": StepOutput(tmp_path, {"name": "demo", "champion": {"version": "1"}})},
        tracking_uri=uri,
    )
    result = run(ServeConfig(generator="fake_generator:load_generator"), context)
    assert result["model"]["version"] == "1"
    assert result["request"]["class"] == "cat"
    assert result["request"]["ms"] > 0
    assert result["request"]["compute"]["gflops"] == 0.5
    assert Path(result["request"]["image"]).read_bytes().startswith(b"\x89PNG")
    assert not result["kept_running"]
    assert not ray.is_initialized()
