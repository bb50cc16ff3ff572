"""A pipeline of three small steps, written to disk so that their code can be hashed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from nitrogen.pipelines.context import SilentProgress
from nitrogen.pipelines.services import Services
from nitrogen.pipelines.step_table import StepSpec

_HEAD = """
from pydantic import BaseModel, ConfigDict, Field
from pathlib import Path
CALLS = []
"""

_SOURCES = {
    "prepare": '''
class PrepareConfig(BaseModel):
    """Pictures in."""
    model_config = ConfigDict(frozen=True, extra="forbid")
    source: str = "pictures"
    image_size: int = Field(8, ge=8)

def run(config, context):
    CALLS.append(context)
    out = context.dir / "data"
    out.mkdir(exist_ok=True)
    (out / "shard.bin").write_bytes(b"x" * config.image_size)
    return {"data": out, "digest": f"size-{config.image_size}"}
''',
    "train": '''
from {package} import maths
class TrainConfig(BaseModel):
    """Weights out."""
    model_config = ConfigDict(frozen=True, extra="forbid")
    learning_rate: float = Field(1e-3, gt=0)
    gating_penalty: float = Field(0.1, ge=0)
    mode: str = "ok"

def estimate_seconds(config):
    return 42.0

def run(config, context):
    CALLS.append(context)
    checkpoint = context.dir / "checkpoint.txt"
    before = checkpoint.read_text() if checkpoint.exists() else "0"
    checkpoint.write_text(str(int(before) + 1))
    context.progress.update(step=1, total=2, metrics=dict(loss=0.5))
    if config.mode != "ok":
        raise maths.failure(config.mode)
    weights = context.dir / "weights.bin"
    weights.write_bytes(b"w" * maths.DOUBLE)
    return {{"weights": weights, "loss": 0.5, "from": context.inputs["prepare"]["data"]}}
''',
    "evaluate": '''
class EvaluateConfig(BaseModel):
    """Numbers out."""
    model_config = ConfigDict(frozen=True, extra="forbid")
    num_images: int = 4

def run(config, context):
    CALLS.append(context)
    picture = context.dir / "grid.png"
    picture.write_bytes(b"png")
    row = dict(fd_lite0=1.5, n=config.num_images, ms_p50=2.0, gflops=0.1, extra=1)
    pace = dict(value=1.204, low=0.98, high=1.39, n=10)
    return {"teacher": row, "student": row, "grid": picture, "speedup": pace}
''',
    "maths": """
from nitrogen.platform.errors import TrainingError
DOUBLE = 2 * 8
def failure(mode):
    if mode == "interrupt":
        return KeyboardInterrupt()
    return TrainingError("loss must be finite, got nan. Lower the learning rate.")
""",
}


@dataclass
class FakePipeline:
    """The package of fake steps, its step table, and the services it runs with."""

    package: str
    folder: Path
    steps: Mapping[str, StepSpec]
    services: Services

    def calls(self, step: str) -> list:
        return sys.modules[f"{self.package}.{step}"].CALLS

    def edit(self, module: str, old: str, new: str) -> None:
        path = self.folder / f"{module}.py"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


class FakeTracker:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.runs: dict[str, str] = {}
        self.params: dict[str, dict] = {}
        self.finished: list[tuple[str, str]] = []

    def start_run(
        self, key: str, name: str, parent: str | None = None, tags: dict | None = None
    ) -> str:
        return self.runs.setdefault(key, f"run-{len(self.runs)}-{name}")

    def log_params(self, run_id: str, params: dict) -> None:
        self.params[run_id] = params

    def finish(self, run_id: str, status: str) -> None:
        self.finished.append((run_id, status))


@pytest.fixture
def tracker() -> FakeTracker:
    return FakeTracker()


@pytest.fixture
def pipeline(
    tmp_path: Path, tracker: FakeTracker, monkeypatch: pytest.MonkeyPatch, request
) -> Iterator[FakePipeline]:
    package = f"fake_steps_{abs(hash(request.node.nodeid))}"
    folder = tmp_path / "modules" / package
    folder.mkdir(parents=True)
    for name, source in _SOURCES.items():
        body = source.format(package=package) if name == "train" else source
        head = "" if name == "maths" else _HEAD
        (folder / f"{name}.py").write_text(head + body)
    monkeypatch.syspath_prepend(str(folder.parent))
    importlib.invalidate_caches()
    steps = {
        spec.name: spec
        for spec in (
            StepSpec(
                "prepare",
                f"{package}.prepare",
                "PrepareConfig",
                seeded=False,
                computes=False,
                digest_field="digest",
            ),
            StepSpec("train", f"{package}.train", "TrainConfig", ("prepare",), uses_ray=True),
            StepSpec("evaluate", f"{package}.evaluate", "EvaluateConfig", ("train",)),
        )
    }
    services = Services(
        tracker=lambda uri, experiment, home: tracker, cluster=lambda settings, root: lambda: None
    )
    yield FakePipeline(package, folder, steps, services)
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


class RecordingProgress(SilentProgress):
    """Keeps what a run would show."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.ended: list[tuple[str, str]] = []

    def begin_step(self, name: str, index: int, count: int) -> None:
        self.lines.append(f"{index}/{count} {name}")

    def message(self, text: str) -> None:
        self.lines.append(text)

    def end_step(self, name: str, state: str, seconds: float) -> None:
        self.ended.append((name, state))

    def close(self) -> None:
        self.lines.append("closed")


@pytest.fixture
def progress() -> RecordingProgress:
    return RecordingProgress()


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text("name: tiny\nexecutor: {kind: local}\ntrain:\n  gating_penalty: 0.2\n")
    return path
