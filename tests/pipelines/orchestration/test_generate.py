"""`nitrogen generate` with a real, untrained network: the JSON contract, and mistakes."""

from __future__ import annotations

import json

import pytest

from nitrogen.pipelines import cli, trained_models
from nitrogen.pipelines.commands.generate_options import class_index
from nitrogen.platform.errors import ConfigError

CLASSES = ("Cat", "Dog", "Owl")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Shipped weights of a tiny student, as Pipeline.save lays them out."""
    import torch

    from nitrogen.model.config import preset
    from nitrogen.model.denoiser import Denoiser
    from nitrogen.model.pipeline import Pipeline
    from nitrogen.model.predictor import Predictor

    torch.manual_seed(0)
    arch = preset("tiny", image_size=16, num_classes=len(CLASSES))
    root = tmp_path_factory.mktemp("weights")
    Pipeline(Denoiser(arch), CLASSES, Predictor(arch)).save(root / "emoji32/student")
    return root


@pytest.fixture
def generate(weights, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(trained_models, "SHIPPED_WEIGHTS", weights)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.invoke(["generate", "--steps", "3", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_the_json_contract(generate, tmp_path):
    arguments = ("--class", "Owl", "--seed", "7", "--policy", "budget", "--budget", "0.6")
    code, out, err = generate(*arguments, "--out", "owl.png", "--json")
    assert code == 0, err
    result = json.loads(out)
    names = {"gflops", "gflops_full", "ms", "steps", "active_fraction", "heatmap"}
    assert names <= set(result)
    assert 0 < result["gflops"] <= 0.6 * result["gflops_full"]
    assert 1 <= result["steps"] <= 3
    assert 0 <= result["active_fraction"] <= 1
    assert result["fallbacks"] == 0
    assert all(0 <= cell <= 1 for step in result["heatmap"] for row in step for cell in row)
    shown = out[out.index('"heatmap"') :].split("\n")[1:4]
    assert [json.loads(line.rstrip(",")) for line in shown] == result["heatmap"], "a line a step"
    assert max(map(len, shown)) < 60
    first = (tmp_path / "owl.png").read_bytes()
    assert first.startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["owl.png"], "no temporary file is left"
    generate(*arguments, "--out", "again.png")
    assert (tmp_path / "again.png").read_bytes() == first, "the same seed, the same picture"


def test_full_policy_costs_the_full_model(generate):
    result = json.loads(generate("--class", "1", "--json")[1])
    assert result["gflops"] == pytest.approx(result["gflops_full"])
    assert result["class"] == "Dog"
    assert "GFLOPs (100% of full)" in generate()[1]


@pytest.mark.parametrize(
    ("dial", "policy"), [(("--budget", "0.6"), "budget"), (("--threshold", "0.1"), "threshold")]
)
def test_a_dial_alone_names_its_policy(generate, dial, policy):
    alone = json.loads(generate(*dial, "--json")[1])
    named = json.loads(generate(*dial, "--policy", policy, "--json")[1])
    assert alone["policy"] == policy
    assert alone["gflops"] == named["gflops"] < alone["gflops_full"]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--class", "owll"), 2, "Did you mean Owl?"),
        (("--class", "7"), 2, "a number below 3, got 7. Choose one of: Cat, Dog, Owl."),
        (("--policy", "budgte"), 2, "got budgte. Did you mean budget?"),
        (("--policy", "full", "--threshold", "0.1"), 2, "--threshold must be left out"),
        (("--policy", "budget"), 2, "--budget must be given with --policy budget"),
        (("--budget", "1.5"), 2, "--budget must be above 0 and at most 1, the share"),
        (("--budget", "nan"), 2, "--budget must be above 0 and at most 1, the share"),
        (("--threshold", "5"), 2, "--threshold must be 0 to 4, got 5.0"),
        (("--solver", "magic"), 2, "--solver must be one of euler, heun, dpmpp_2m, unipc, got"),
        (("--steps", "0"), 2, "--steps must be 1 to 1000, got 0"),
        (("--steps", "1001"), 2, "--steps must be 1 to 1000, got 1001"),
        (("--seed", "-1"), 2, "--seed must be 0 to 9223372036854775807, got -1"),
        (("--guidance-scale", "21"), 2, "--guidance-scale must be 0 to 20, got 21.0"),
        (("--size", "4"), 2, "--size must be 8 to 8192, got 4"),
        (("--size", "33"), 9, "image_size must be a multiple of 8 px"),
        (("--policy", "budget", "--budget", "0.001"), 9, "budget must be at least 0."),
        (("--out", "no/folder/x.png"), 4, "got no/folder/x.png (there is no such folder)"),
        (("--out", "."), 4, "got . (it is a folder)"),
        (("--teacher",), 3, "must ship teacher weights"),
    ],
)
def test_mistakes_are_one_sentence_before_any_weights(
    generate, monkeypatch, arguments, code, sentence
):
    monkeypatch.setattr("nitrogen.model.pipeline.Pipeline.load", _never)
    got, out, err = generate(*arguments)
    assert got == code
    assert sentence in err
    assert (err.count("\n"), out) == (1, "")


def _never(*_):
    raise AssertionError("the weights were loaded for a request that cannot be met")


def test_a_model_without_predictor_has_no_exits(generate, weights, monkeypatch, tmp_path):
    content = json.loads((weights / "emoji32/student/config.json").read_text())
    (tmp_path / "plain/emoji32/student").mkdir(parents=True)
    (tmp_path / "plain/emoji32/student/model.safetensors").touch()
    described = tmp_path / "plain/emoji32/student/config.json"
    described.write_text(json.dumps(content | {"predictor": False}))
    monkeypatch.setattr(trained_models, "SHIPPED_WEIGHTS", tmp_path / "plain")
    code, _, err = generate("--budget", "0.5")
    assert code == 2
    assert "--policy must be full, random or static for a model without predictor" in err
    described.write_text("{}")
    code, _, err = generate()
    assert code == 3
    assert "config.json must describe a model" in err


def test_without_any_weights(generate, monkeypatch, tmp_path):
    monkeypatch.setattr(trained_models, "SHIPPED_WEIGHTS", tmp_path / "none")
    code, _, err = generate()
    assert code == 3
    assert "Train some with `nitrogen run demo`" in err


@pytest.mark.parametrize("name", ["\N{SUPERSCRIPT TWO}", "-1", "9" * 30, ""])
def test_a_number_that_is_no_class_is_one_sentence(name):
    with pytest.raises(ConfigError, match="--class must be a class name or a number below 2"):
        class_index(name, ("a", "b"))


def test_a_picture_that_does_not_fit_the_memory_is_one_sentence(monkeypatch, tmp_path, capsys):
    from nitrogen.model.pipeline import Pipeline

    def too_large(self, *_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")

    monkeypatch.setattr(Pipeline, "generate", too_large)
    assert cli.invoke(["generate", "--size", "8192", "--out", str(tmp_path / "x.png")]) == 2
    assert "--size must be a picture that fits the memory, got 8192" in capsys.readouterr().err


def test_a_schedule_takes_its_budget(generate):
    arguments = ("--policy", "static", "--budget", "0.6", "--out", "cat.png", "--json")
    code, out, err = generate(*arguments)
    assert code == 0, err
    result = json.loads(out)
    assert (result["policy"], result["fallbacks"]) == ("static", 0)
    assert 0 < result["gflops"] <= 0.6 * result["gflops_full"]


def test_a_dense_last_step_is_within_the_budget(generate):
    code, out, err = generate("--budget", "0.7", "--dense-last", "--out", "cat.png", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["gflops"] <= 0.7 * result["gflops_full"]
    assert all(cell == 1 for row in result["heatmap"][-1] for cell in row)
    assert generate("--budget", "0.4", "--dense-last", "--out", "cat.png")[0] == 9


def test_a_broken_predictor_is_told(generate, weights, monkeypatch, tmp_path):
    from nitrogen.model.pipeline import Pipeline

    pipeline = Pipeline.load(weights / "emoji32/student")
    pipeline.predictor.enter.weight[0, 0] = float("nan")
    pipeline.save(tmp_path / "broken/emoji32/student")
    monkeypatch.setattr(trained_models, "SHIPPED_WEIGHTS", tmp_path / "broken")
    arguments = ("--policy", "budget", "--budget", "0.6", "--out", "cat.png")
    code, out, err = generate(*arguments, "--json")
    assert (code, json.loads(out)["fallbacks"]) == (0, 3)
    code, out, err = generate(*arguments)
    assert code == 0
    assert "not finite at 3 steps" in err
