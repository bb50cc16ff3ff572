"""The sweep's section of a recipe, and what it asks of its budgets."""

import json

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from nitrogen.model.config import ArchConfig, preset
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.pipeline import Pipeline
from nitrogen.pipelines.context import StepContext, StepOutput
from nitrogen.pipelines.recipe import load_recipe
from nitrogen.pipelines.sampling import Draws
from nitrogen.pipelines.steps.sweep import (
    Reference,
    curve_steps,
    keep_schedules,
    own_distance,
    trial_settings,
)
from nitrogen.pipelines.steps.sweep_config import SweepConfig, check_budgets
from nitrogen.platform.errors import ConfigError


@pytest.mark.parametrize(
    "space",
    [
        {},
        {"threshold": {"low": 0.1, "high": 1}},
        {"gating_penalty": {"low": 0.1, "high": 1}, "threshold": {"choices": [1]}, "width": {}},
    ],
)
def test_a_space_must_name_what_a_trial_reads(space):
    with pytest.raises(ValidationError, match="gating_penalty and threshold"):
        SweepConfig(space=space)


def test_one_choice_fixes_a_value():
    SweepConfig(space={"gating_penalty": {"choices": [0.0]}, "threshold": {"low": 1, "high": 2}})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("sweep.solver=ddim", r"^sweep\.solver must be one of euler, .*, got 'ddim'"),
        ("evaluate.solver=ddim", r"^evaluate\.solver must be one of euler, .*, got 'ddim'"),
        ("evaluate.fid=true", r"^evaluate\.num_images must be at least 2048 for fid, got \d+"),
        (
            "sweep.thresholds=[0.1,-1]",
            r"^sweep\.thresholds\.1 must be at least 0\.0, got -1\.",
        ),
        ("sweep.full_steps=[]", r"^sweep\.full_steps must be a list of at least 1, got \[\]"),
        ("sweep.full_steps=[0]", r"^sweep\.full_steps\.0 must be at least 1, got 0"),
        (
            "sweep.space={gating_penalty: [0.1], threshold: {low: 3.0, high: 1.0}}",
            r"^sweep\.space\.threshold must be a range or a choice, got .* Give low below high",
        ),
    ],
)
def test_what_only_the_sweep_reads_is_refused_before_anything_runs(change, sentence):
    with pytest.raises(ConfigError, match=sentence):
        load_recipe("demo", [change])


def test_the_bound_is_taken_at_the_students_own_steps():
    config = SweepConfig(num_inference_steps=7, full_steps=(8, 4))
    assert curve_steps(config) == (4, 7, 8)
    curve = [{"num_inference_steps": n, "distance": 1 / n} for n in curve_steps(config)]
    assert own_distance(curve, config) == 1 / 7


def test_a_budget_below_the_cheapest_plan_is_refused_before_the_trials():
    arch = preset("tiny", num_classes=3).model_dump(mode="json")
    check_budgets(SweepConfig(), arch)
    with pytest.raises(ConfigError, match=r"^sweep\.budgets: budget must be at least 0\.\d+"):
        check_budgets(SweepConfig(budgets=(0.5, 0.01)), arch)


def test_budgets_are_those_of_the_student_and_of_the_solver_it_runs(tmp_path):
    """Of 4 steps of `tiny` the cheapest plan takes 0.1117 by Heun and 0.1006 by Euler, which a
    strided student is sampled by, whatever the recipe names."""
    strided = {"teacher": False, "student": True}
    for name, value in strided.items():
        (tmp_path / name).mkdir()
        arch = preset("tiny", num_classes=3, strided=value).model_dump(mode="json")
        (tmp_path / name / "config.json").write_text(json.dumps({"arch": arch}))
    inputs = {
        "distill": StepOutput(tmp_path, {"student": "student"}),
        "prepare": StepOutput(tmp_path, {"data_uri": "data"}),
    }
    context = StepContext(dir=tmp_path, inputs=inputs)
    reference = Reference(tmp_path / "teacher", Draws([], []), None, tmp_path / "reference.npz")

    def settings(budget, solver):
        fields = {"num_inference_steps": 4, "budgets": (budget,), "solver": solver}
        return trial_settings(SweepConfig(**fields), context, reference)

    for solver in ("heun", "euler", "unipc"):
        assert settings(0.105, solver)["student"]["strided"]
        # What the stride adds to the conditioning: the teacher's network would fit.
        with pytest.raises(ConfigError, match=r"budget must be at least 0\.1006 .* got 0\.10059"):
            settings(0.10059, solver)
    (tmp_path / "student/config.json").write_text((tmp_path / "teacher/config.json").read_text())
    with pytest.raises(ConfigError, match=r"budget must be at least 0\.1117 .* got 0\.105"):
        settings(0.105, "heun")
    assert not settings(0.10059, "euler")["student"]["strided"]


def test_the_students_schedules_lie_beside_its_weights(tmp_path):
    torch.manual_seed(0)
    arch = ArchConfig(
        image_size=16, patch_size=2, channels=(8, 16), num_blocks=(1, 1), num_attention_blocks=1,
        head_channels=8, cond_channels=16, num_classes=3,
    )  # fmt: skip
    Pipeline(Denoiser(arch), ["a", "b", "c"]).save(tmp_path / "student", torch.float32)
    images = np.full((4, 16, 16, 3), 200, np.uint8)
    reference = Reference(tmp_path, Draws([0, 1, 2, 0], [1, 2, 3, 4]), images, tmp_path)
    config = SweepConfig(num_inference_steps=3, schedule_moves=2)
    keep_schedules(config, StepContext(dir=tmp_path, inputs={}), reference, tmp_path / "student")
    student = Pipeline.load(tmp_path / "student")
    assert set(student.schedules.rows) == {3}
    assert len(student.policy("static", None, 0.75, 3).widths) == 3
