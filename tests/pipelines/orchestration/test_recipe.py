"""Recipes: positions, extends, overrides, sentences for every mistake, origins."""

from __future__ import annotations

from pathlib import Path

import pytest

from nitrogen.pipelines.recipe import load_recipe, recipe_from_values
from nitrogen.platform.errors import ConfigError


def test_values_and_origins(pipeline, recipe_file):
    loaded = load_recipe(str(recipe_file), ["train.learning_rate=5e-4"], pipeline.steps)
    assert loaded.recipe.train.gating_penalty == 0.2
    assert loaded.recipe.train.learning_rate == 5e-4
    assert loaded.origins["train.gating_penalty"] == f"{recipe_file}:4:3"
    assert loaded.origins["train.learning_rate"] == "--set"
    assert loaded.origins["prepare.image_size"] == "default"
    assert loaded.origins["executor.kind"].startswith(f"{recipe_file}:2:")


def test_what_an_override_replaces_is_no_longer_the_files():
    """A list and a mapping, of each of which the file wrote every part."""
    with pytest.raises(ConfigError, match=r"^sweep\.thresholds\.1 must .*, got -1\. Give another"):
        load_recipe("demo", ["sweep.thresholds=[0.5,-1]"])
    shown = load_recipe("demo", ["sweep.thresholds=[0.5]", "sweep.space.threshold.low=1e-4"])
    assert shown.origins["sweep.thresholds"] == "--set"
    assert shown.origins["sweep.space.threshold.low"] == "--set"
    assert "demo.yaml:" in shown.origins["sweep.space.threshold.high"]
    whole = load_recipe("demo", ["sweep.space={threshold: {low: 1.0e-4}}"])
    assert whole.origins["sweep.space.threshold.low"] == "--set"


def test_unknown_key_is_suggested(pipeline, recipe_file):
    recipe_file.write_text("name: tiny\ntrain:\n  gating_penalti: 0.2\n")
    with pytest.raises(ConfigError) as caught:
        load_recipe(str(recipe_file), [], pipeline.steps)
    message = str(caught.value)
    assert "train.gating_penalti must be a known key" in message
    assert f"{recipe_file}:3:3" in message
    assert "Did you mean train.gating_penalty?" in message


def test_key_of_another_section_is_suggested(pipeline, recipe_file):
    with pytest.raises(ConfigError, match=r"Did you mean train\.gating_penalty\?"):
        load_recipe(str(recipe_file), ["gating_penalty=0.3"], pipeline.steps)


def test_all_problems_at_once(pipeline, recipe_file):
    recipe_file.write_text(
        "name: tiny\nseed: minus\nprepare: {image_size: 4}\ntrain: {learning_rate: 0, x: 1}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_recipe(str(recipe_file), [], pipeline.steps)
    message = str(caught.value)
    assert "has 4 problems" in message
    assert "seed must be a whole number, got 'minus'. Change it at " in message
    assert "prepare.image_size must be at least 8, got 4." in message
    assert "train.learning_rate must be more than 0" in message
    assert "train.x must be a known key" in message


def test_missing_name(pipeline, tmp_path):
    path = tmp_path / "empty.yaml"
    path.write_text("seed: 1\n")
    with pytest.raises(ConfigError, match=r"name must be given, got nothing. Add it at the top"):
        load_recipe(str(path), [], pipeline.steps)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: a\ntrain: [1, 2", r"bad\.yaml:2:\d+ must be valid YAML"),
        ("- a\n- b\n", "must hold a mapping of sections, got a list"),
        ("name: a\nname: b\n", r"name must be given once, got it again at .*bad\.yaml:2:1"),
        ("name: a\ntrain: 3\n", r"train must be .*mapping.*got 3"),
        ("name: a\nexecutor: {kind: address}\n", r"executor\.address must be set"),
        ("name: a\nexecutor: {use_gpu: true, device: cpu}\n", r"executor\.device must be cuda"),
        ("name: a\nexecutor: {kind: cloud}\n", r"executor\.kind must be one of 'local'"),
        ("name: !!python/object/apply:os.system [true]\n", "must be valid YAML"),
        ("name: " + "[" * 20_000, r"must nest a few levels"),
        ("name: a\nseed: " + "9" * 6000, r"numbers of a few digits"),
        ("a: &a [*a]\n", "must nest a few levels"),
        ("a: &a [1]\nb: [" + ", ".join(["*a"] * 40) + "]", "at most 32 aliases"),
        ("name: a\n#" + "x" * 300_000, "at most 256,000 characters"),
    ],
)
def test_broken_recipes_get_a_sentence(pipeline, tmp_path, text, expected):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=expected):
        load_recipe(str(path), [], pipeline.steps)


@pytest.mark.parametrize(
    "override", ["train.learning_rate", "=3", "train..x=1", "train.x=[1", "seed=" + "[" * 3000]
)
def test_broken_overrides_get_a_sentence(pipeline, recipe_file, override):
    with pytest.raises(ConfigError, match="--set"):
        load_recipe(str(recipe_file), [override], pipeline.steps)


def test_override_below_an_override(pipeline, recipe_file):
    with pytest.raises(ConfigError, match="must not go below train"):
        load_recipe(str(recipe_file), ["train=3", "train.mode=a"], pipeline.steps)


def test_extends_one_level(pipeline, recipe_file, tmp_path):
    child = tmp_path / "child.yaml"
    child.write_text("extends: tiny.yaml\nname: child\ntrain: {mode: other}\n")
    loaded = load_recipe(str(child), [], pipeline.steps)
    assert loaded.recipe.name == "child"
    assert loaded.recipe.train.gating_penalty == 0.2
    assert loaded.recipe.train.mode == "other"
    assert loaded.origins["train.gating_penalty"].startswith(str(recipe_file))
    grandchild = tmp_path / "grandchild.yaml"
    grandchild.write_text("extends: child.yaml\nname: grandchild\n")
    with pytest.raises(ConfigError, match="extends must name a recipe that extends nothing"):
        load_recipe(str(grandchild), [], pipeline.steps)


def test_empty_section_means_defaults(pipeline, tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("name: r\nevaluate:\n")
    assert load_recipe(str(path), [], pipeline.steps).recipe.evaluate.num_images == 4


def test_unknown_recipe_names_the_shipped_ones(pipeline):
    with pytest.raises(ConfigError, match="recipe must be a YAML file or a shipped name"):
        load_recipe("no-such-recipe", [], pipeline.steps)


def test_canonical_values_make_the_same_recipe(pipeline, recipe_file):
    recipe = load_recipe(str(recipe_file), [], pipeline.steps).recipe
    again = recipe_from_values(recipe.canonical(), pipeline.steps)
    assert again == recipe
    assert again.digest() == recipe.digest()


def test_a_folder_is_not_a_recipe(pipeline, tmp_path: Path):
    with pytest.raises(ConfigError, match="recipe must be"):
        load_recipe(str(tmp_path), [], pipeline.steps)


SHIPPED = ("demo", "emoji32", "fashion", "scenes64", "thin32")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes_are_valid(name):
    loaded = load_recipe(name)
    assert loaded.recipe.name == name
    assert load_recipe(name, ["distill.student.gating_penalty=0.3"]).recipe != loaded.recipe


def test_a_thin_model_is_trained_as_its_teacher_is():
    thin, teacher = load_recipe("thin32").recipe, load_recipe("emoji32").recipe
    assert thin.prepare == teacher.prepare
    assert thin.pretrain.optim == teacher.pretrain.optim
    assert thin.pretrain == teacher.pretrain.model_copy(update={"arch": {"hidden_ratio": 1}})


@pytest.mark.parametrize(
    ("override", "remedy"),
    [
        ("pretrain.optim.predictor_learning_rate=0.01", r"Set distill\.optim\.predictor_"),
        ("sweep.optim.learning_rate=0.002", r"Set sweep\.optim\.predictor_learning_rate"),
        ("sweep.optim.optimizer=muon", "Leave it out"),
        ("sweep.student.gating_penalty=0.3", r"Set sweep\.space\.gating_penalty"),
        ("sweep.student.strided=true", r"Set distill\.student\.strided"),
        ("sweep.student.stale_weight=0.5", r"Set it in distill\.student"),
        ("sweep.student.distilled=false", r"Set it in distill\.student"),
        ("sweep.student.train_denoiser=false", "Leave it out"),
    ],
)
def test_a_knob_that_turns_nothing_is_refused(override, remedy):
    key, _, value = override.partition("=")
    told = rf"^{key.replace('.', '[.]')} must be left out, got {value}: .*{remedy}"
    with pytest.raises(ConfigError, match=f"(?i){told}"):
        load_recipe("demo", [override])


def test_recipes_that_were_stored_with_such_knobs_at_their_defaults_are_read():
    values = load_recipe("demo").recipe.canonical()
    assert "learning_rate" not in values["sweep"]["optim"]
    values["sweep"]["optim"] |= {"learning_rate": 1e-3, "optimizer": "adamw"}
    values["sweep"]["student"] |= {"gating_penalty": 0.0, "strided": False, "train_denoiser": True}
    values["pretrain"]["optim"]["predictor_learning_rate"] = 5e-3
    assert recipe_from_values(values) == load_recipe("demo").recipe


def test_reading_a_recipe_imports_nothing_heavy():
    import subprocess
    import sys

    code = (
        "import sys; from nitrogen.pipelines.recipe import load_recipe; load_recipe('demo'); "
        "print(sorted({'torch', 'ray', 'mlflow', 'pyarrow', 'boto3'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
