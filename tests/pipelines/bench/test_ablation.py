"""The ablation: its arms, one command that trains and measures them, and goes on where it was."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from nitrogen.model.pipeline import Pipeline
from nitrogen.pipelines.bench import ablation as module
from nitrogen.pipelines.bench import ablation_arms
from nitrogen.pipelines.bench.ablation import AblationConfig, run_ablation, training_data
from nitrogen.pipelines.bench.ablation_arms import INSTANT, PARTS, WHOLE, arms_of, shortened
from nitrogen.pipelines.data.loader import ShardDataset
from nitrogen.pipelines.data.prepare import prepare
from nitrogen.pipelines.recipe import load_recipe
from nitrogen.pipelines.training.config import OptimConfig, StudentConfig
from nitrogen.platform.errors import ConfigError

STUDENT = StudentConfig(gating_penalty=0.01, strided=True)


def test_each_arm_leaves_out_one_part():
    arms = {arm.name: arm for arm in arms_of(STUDENT)}
    assert set(arms) == {WHOLE, INSTANT, *PARTS}
    assert arms[WHOLE].student == STUDENT
    for name, arm in arms.items():
        if arm.against is not None:
            other = arms[arm.against].student
            assert len(arm.changed(other)) == 1, name
    assert arms["no distillation"].against == INSTANT


def test_what_a_recipe_does_without_is_no_arm():
    names = [arm.name for arm in arms_of(StudentConfig(gating_penalty=0.0))]
    assert names == [WHOLE, *(name for name in PARTS if name != "no penalty")]


def test_an_arm_brings_those_that_it_is_compared_with():
    names = [arm.name for arm in arms_of(STUDENT, ["no distillation"])]
    assert names == [WHOLE, INSTANT, "no distillation"]
    with pytest.raises(ConfigError, match=r"^--arm must be one of everything, .*, got no pain\."):
        arms_of(STUDENT, ["no pain"])


def test_a_shorter_training_warms_up_and_averages_over_as_much_less():
    optim = OptimConfig(num_images=100_000, warmup_images=2_000, ema_halflife_images=5_000)
    short = shortened(optim, 10_000)
    assert (short.num_images, short.warmup_images, short.ema_halflife_images) == (10_000, 200, 500)
    assert shortened(optim, 200_000).warmup_images == 2_000


def test_pictures_are_reduced_to_the_teachers_size_once(data_uri, tmp_path):
    data = ShardDataset(data_uri, "test").manifest
    assert training_data(data_uri, data, 32, tmp_path) == data_uri
    out = training_data(data_uri, data, 16, tmp_path)
    assert ShardDataset(out, "train").image_size == (16, 16)
    assert training_data(data_uri, data, 16, tmp_path) == out


@pytest.fixture(scope="module")
def data_uri(tmp_path_factory):
    """32 px, as many classes as the models have; three of each."""
    root = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for label in range(26):
        folder = root / "source" / f"c{label:02d}"
        folder.mkdir(parents=True)
        for index in range(3):
            pixels = generator.integers(0, 256, (32, 32, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    prepare(str(root / "source"), str(root / "data"))
    return str(root / "data")


@pytest.mark.slow
def test_arms_are_trained_measured_and_found_again(
    models, extract, data_uri, tmp_path, monkeypatch
):
    teacher = tmp_path / "teacher"
    Pipeline(models.teacher.denoiser, models.teacher.classes).save(teacher, torch.float32)
    changes = ["distill.optim.batch_size=4", "distill.student.gating_penalty=0.1",
               "executor.precision=fp32", "distill.optim.num_images=16"]  # fmt: skip
    recipe = load_recipe("demo", changes).recipe
    monkeypatch.setattr(module, "recipe_behind", lambda run: recipe)
    monkeypatch.setattr(module, "model_directory", lambda run, role: teacher)
    monkeypatch.setattr(module, "data_uri", lambda run: data_uri)
    config = AblationConfig(
        num_images=8, num_seeds=4, num_steps=3, budgets=(0.9, 0.01), arms=("no penalty",)
    )
    said = []
    found = run_ablation(config, None, tmp_path / "rows", extract, said.append)
    json.dumps(found, allow_nan=False)
    first, second = found["arms"]
    assert (first["name"], second["name"]) == (WHOLE, "no penalty")
    assert second["changed"] == {"gating_penalty": 0.0}
    assert found["settings"] == ["full width", "budget 0.9", "budget 0.01"]
    assert "budget must be at least" in second["cells"]["budget 0.01"]["reason"]
    for name in ("full width", "budget 0.9"):
        cell = second["cells"][name]
        assert cell["n"] == 4
        difference = cell["rmse"]["value"] - first["cells"][name]["rmse"]["value"]
        assert cell["over"]["value"] == pytest.approx(difference, abs=1e-6)
    assert first["cells"]["full width"]["share"] == pytest.approx(1.0, abs=1e-6)
    assert first["cells"]["budget 0.9"]["share"] <= 0.9
    assert Pipeline.load(next((tmp_path / "rows/arms").glob("*/student"))).prices is not None
    assert not list((tmp_path / "rows/arms").glob("*/training"))

    def trains(*args, **options):
        raise AssertionError("what is there is not trained again")

    monkeypatch.setattr(ablation_arms, "run_local", trains)
    assert run_ablation(config, None, tmp_path / "rows", extract, said.append) == found
