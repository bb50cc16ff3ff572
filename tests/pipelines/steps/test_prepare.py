"""The step: config, fingerprint and what it returns."""

import json
from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError

from nitrogen.pipelines.context import SilentProgress, StepContext
from nitrogen.pipelines.data.loader import ShardDataset
from nitrogen.pipelines.steps.prepare import PrepareConfig, fingerprint, run
from nitrogen.platform.errors import DataError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name in ("ant", "bee", "cow"):
        (tmp_path / "source" / name).mkdir(parents=True)
        for i in range(8):
            Image.new("L", (20 + i, 20), 30 * i).save(tmp_path / "source" / name / f"{i}.png")
    return tmp_path / "source"


class Recorder(SilentProgress):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


def context(tmp_path: Path, key: str = "0123456789abcdef") -> StepContext:
    (tmp_path / "step").mkdir(exist_ok=True)
    return StepContext(dir=tmp_path / "step", key=key, progress=Recorder())


def test_grey_pictures_of_mixed_sizes(source: Path, tmp_path: Path):
    result = run(PrepareConfig(source=str(source), image_size=16), context(tmp_path))
    assert json.loads(json.dumps(result)) == result
    assert result["classes"] == ["ant", "bee", "cow"]
    assert (result["image_size"], result["num_classes"]) == ([16, 16], 3)
    assert sum(result["splits"].values()) == 24
    assert len(ShardDataset(result["data_uri"], "train")) == result["splits"]["train"]
    assert Path(result["data_uri"]).is_relative_to(tmp_path / "step")


def test_a_cut_off_step_can_run_again(source: Path, tmp_path: Path):
    config = PrepareConfig(source=str(source), image_size=16)
    first = run(config, context(tmp_path))
    assert run(config, context(tmp_path)) == first


def test_out_is_shared_by_runs_with_the_same_key(source: Path, tmp_path: Path):
    config = PrepareConfig(source=str(source), image_size=16, out=str(tmp_path / "shared"))
    first = run(config, context(tmp_path))
    assert first["data_uri"] == str(tmp_path / "shared" / "0123456789ab")
    written = (tmp_path / "shared/0123456789ab/manifest.json").stat().st_mtime_ns
    assert run(config, context(tmp_path)) == first
    assert (tmp_path / "shared/0123456789ab/manifest.json").stat().st_mtime_ns == written
    assert run(config, context(tmp_path, "ffff" * 16))["data_uri"].endswith("ffffffffffff")


def test_broken_pictures_are_said(source: Path, tmp_path: Path):
    (source / "ant/bad.png").write_bytes(b"bad")
    told = context(tmp_path)
    assert run(PrepareConfig(source=str(source), image_size=16), told)["num_broken"] == 1
    assert "pictures that could not be used: 1; the first: ant/bad.png" in told.progress.messages[0]


def test_the_fingerprint_follows_the_files(source: Path):
    config = PrepareConfig(source=str(source))
    before = fingerprint(config)
    assert fingerprint(config) == before
    Image.new("L", (9, 9)).save(source / "ant/0.png")
    changed = fingerprint(config)
    assert changed != before
    (source / "bee/1.png").unlink()
    assert fingerprint(config) not in (before, changed)


def test_the_fingerprint_of_the_bundled_set_and_of_nothing(tmp_path: Path):
    assert len(fingerprint(PrepareConfig())["source"]) == 64
    with pytest.raises(DataError, match=r"prepare\.source must exist, got .*absent\. Check"):
        fingerprint(PrepareConfig(source=str(tmp_path / "absent")))


@pytest.mark.parametrize("values", [{"image_size": 4}, {"source": ""}, {"sources": "x"}])
def test_config_refuses(values: dict):
    with pytest.raises(ValidationError):
        PrepareConfig(**values)
