"""The serve step: settings without Ray, the smoke check on a real Serve."""

import json
import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import fake_generator
import pytest
import uvicorn
from pydantic import ValidationError

from nitrogen.pipelines.context import SilentProgress, StepContext, StepOutput
from nitrogen.pipelines.executor import ExecutorConfig
from nitrogen.pipelines.steps.serve import ServeConfig, at_point, check, run
from nitrogen.platform.audit import AuditLog
from nitrogen.platform.gates import Gate
from nitrogen.platform.promotion import promote
from nitrogen.platform.registry import POINT_TAG, Registry
from nitrogen.platform.serving.api import build_api
from nitrogen.platform.serving.edge import EdgePolicy
from nitrogen.platform.serving.proxy import free_port


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


POINT = {"policy": "budget", "budget": 0.6, "threshold": None, "num_inference_steps": 3}


class Recorder:
    """A backend of the real HTTP interface that keeps the request it was given."""

    async def generate(self, request):
        self.request = request
        png = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x20\x00\x00\x00\x10"
        image = {"png": png, "seed": request["seed"], "metrics": {"gflops": 1.0}}
        return {"images": [image], "model": {"name": "m", "version": "1", "digest": "d"}}

    async def describe(self):
        model = {"name": "m", "version": "1", "digest": "d"}
        return [{"model": model, "info": {"classes": ["cat"]}, "loaded_at": 1.0, "rejected": None}]


@pytest.fixture(scope="module")
def recorder():
    port, backend = free_port(), Recorder()
    api = build_api(backend, EdgePolicy())
    server = uvicorn.Server(
        uvicorn.Config(api, host="127.0.0.1", port=port, log_level="error", lifespan="off")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield backend, SimpleNamespace(url=f"http://127.0.0.1:{port}")
    server.should_exit = True
    thread.join(5)


@pytest.fixture(scope="module")
def champion(tmp_path_factory):
    """A registry whose champion was measured at POINT, and a later version at another."""
    root = tmp_path_factory.mktemp("registry")
    registry = Registry(f"sqlite:///{root}/mlflow.db")
    for index, point in enumerate((POINT, {**POINT, "budget": 0.9})):
        bundle = fake_generator.make_bundle(root / f"bundle-{index}", color=(index, 0, 0))
        registry.register(bundle, "demo", metrics={"fd": 1.0}, tags={POINT_TAG: json.dumps(point)})
    gates = [Gate(metric="fd", op="<=", bound=2.0)]
    promote(registry, "demo", "1", gates, AuditLog(root / "audit.jsonl"))
    return registry.tracking_uri


def served(champion, tmp_path):
    said = SilentProgress()
    said.lines = []
    said.message = said.lines.append
    promoted = StepOutput(tmp_path, {"name": "demo", "champion": {"version": "1"}})
    return StepContext(
        dir=tmp_path, inputs={"promote": promoted}, tracking_uri=champion, progress=said
    )


def test_the_champion_is_checked_at_its_operating_point(recorder, champion, tmp_path, monkeypatch):
    monkeypatch.delenv("NITROGEN_API_KEYS", raising=False)
    backend, endpoint = recorder
    result = check(endpoint, ServeConfig(), served(champion, tmp_path), kept=False)
    assert {name: backend.request[name] for name in POINT} == POINT
    assert result["request"]["budget"] == 0.6
    own = ServeConfig(request={"seed": 1, "policy": "full"})
    check(endpoint, own, served(champion, tmp_path), kept=False)
    assert backend.request["policy"] == "full"
    assert backend.request["budget"] is None


def test_a_point_that_cannot_be_asked_for_is_said(champion, tmp_path):
    context = served(champion, tmp_path)
    body = {"class": "cat", "seed": 0}
    assert at_point(body, {**POINT, "budget": 1.5}, context) == body
    assert "budget must be a number above 0 and at most 1" in context.progress.lines[0]
    assert at_point(body, {}, context) == body
    measured = {**POINT, "solver": "unipc"}  # which no request may name: the bundle has it
    assert at_point(body, measured, context) == at_point(body, POINT, context)
    assert at_point(body, measured, context)["budget"] == 0.6
    assert len(context.progress.lines) == 1


@pytest.mark.ray
def test_one_request_is_checked_and_nothing_keeps_running(tmp_path, monkeypatch):
    import ray

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    registry = Registry(uri)
    registry.register(
        fake_generator.make_bundle(tmp_path / "bundle"), "demo", metrics={"fd": 1.0},
        tags={POINT_TAG: json.dumps(POINT)},
    )  # fmt: skip
    gates = [Gate(metric="fd", op="<=", bound=2.0)]
    promote(registry, "demo", "1", gates, AuditLog(tmp_path / "audit.jsonl"))
    paths = [str(Path(fake_generator.__file__).parent), os.environ.get("PYTHONPATH", "")]
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
    assert result["request"]["compute"]["steps"] == POINT["num_inference_steps"]
    assert Path(result["request"]["image"]).read_bytes().startswith(b"\x89PNG")
    assert not result["kept_running"]
    assert not ray.is_initialized()
