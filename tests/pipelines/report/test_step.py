"""The report step: files it leaves, what it tells, and its refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import ValidationError

from nitrogen.pipelines.context import StepContext, StepOutput
from nitrogen.pipelines.report.data import LabelledImages, Samples
from nitrogen.pipelines.report.samples_file import save_grid, save_samples
from nitrogen.pipelines.steps import report
from nitrogen.platform.errors import ConfigError, DataError


@pytest.fixture
def context(tmp_path) -> StepContext:
    evaluate, own = tmp_path / "evaluate", tmp_path / "report"
    own.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    save_samples(evaluate / "samples.npz", Samples(images, images, ["a", "b", "c"], [1, 2, 3]))
    inputs = {
        "prepare": StepOutput(tmp_path, {"name": "emoji", "classes": ["Food & Drink, noto"]}),
        "distill": StepOutput(tmp_path, {"history": []}),
        "evaluate": StepOutput(evaluate, {"samples_file": "samples.npz"}),
        "promote": StepOutput(tmp_path, {"champion": {"name": "demo", "version": "1"}}),
    }
    return StepContext(
        dir=own,
        inputs=inputs,
        run_dir=tmp_path / "a run",
        name="demo",
        seed=3,
        tracking_uri="postgresql://me:secret@host/db",
    )


def test_page_and_grid_are_left_and_named(context):
    result = report.run(report.ReportConfig(shipped_samples=None), context)
    json.dumps(result)
    assert result["report"] == "report.html"
    assert result["images"] == ["samples.png"]
    assert sorted(path.name for path in context.dir.iterdir()) == ["report.html", "samples.png"]
    html = (context.dir / "report.html").read_text(encoding="utf-8")
    assert len(html.encode()) == result["bytes"]
    assert html.startswith("<!doctype html>")
    assert "samples" in result["sections"]
    assert "claims" in result["missing"]
    assert "<h1>demo</h1>" in html
    assert (context.dir / "report.html").stat().st_mode & 0o777 == 0o644


def test_commands_are_quoted_and_secrets_masked(context):
    report.run(report.ReportConfig(shipped_samples=None), context)
    html = (context.dir / "report.html").read_text(encoding="utf-8")
    assert "secret" not in html
    assert "a run&#39; --class &#39;Food &amp; Drink, noto&#39;" in html
    assert "nitrogen serve --run" in html


def test_shipped_samples_are_shown_when_given(context, tmp_path):
    images = np.zeros((2, 16, 16, 3), np.uint8)
    path = save_grid(tmp_path / "grid.npz", LabelledImages(images, (), "Trained for hours."))
    result = report.run(report.ReportConfig(shipped_samples=str(path)), context)
    assert "shipped" in result["sections"]
    assert "Trained for hours." in (context.dir / "report.html").read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match=r"shipped_samples must be .* got /no/grid\.npz"):
        report.run(report.ReportConfig(shipped_samples="/no/grid.npz"), context)


def test_artifacts_are_logged_to_the_run(context):
    import dataclasses

    logged = []

    class Recorder:
        def log_artifact(self, run_id, path, folder=None):
            logged.append((run_id, path.name, path.is_file()))

    tracked = dataclasses.replace(context, tracker=Recorder(), run_id="r1")
    report.run(report.ReportConfig(shipped_samples=None), tracked)
    assert logged == [("r1", "report.html", True), ("r1", "samples.png", True)]


def test_damaged_samples_leave_no_report(context):
    path = context.inputs["evaluate"].dir / "samples.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="Run the evaluate step again"):
        report.run(report.ReportConfig(), context)
    assert list(context.dir.iterdir()) == []


def test_config_refuses_unknown_and_impossible_values():
    with pytest.raises(ValidationError, match="max_samples"):
        report.ReportConfig(max_samples=0)
    with pytest.raises(ValidationError, match="titel"):
        report.ReportConfig(titel="x")
    with pytest.raises(ValidationError, match="frozen"):
        report.ReportConfig().title = "x"
