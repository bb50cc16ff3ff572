"""`nitrogen generate --precision`: fp32 untouched, bf16 near it, and a word where it is slow."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from nitrogen.model.config import preset
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.pipeline import Pipeline
from nitrogen.model.predictor import Predictor
from nitrogen.pipelines import cli, executor, trained_models
from nitrogen.pipelines.generator import load_generator

MOST_APART = 3.0  # mean absolute difference, of 255: what bf16 may move a picture by
SLOW = "bf16 takes many times as long as fp32 on this processor"


@pytest.fixture(scope="module")
def pipeline():
    """Its output layer and gates are zero before training: they are moved, so that it answers."""
    torch.manual_seed(0)
    arch = preset("tiny", image_size=16, num_classes=2)
    made = Pipeline(Denoiser(arch), ("Cat", "Dog"), Predictor(arch))
    for parameter in made.denoiser.parameters():
        parameter.data += torch.randn_like(parameter) * 0.05
    return made


@pytest.fixture(scope="module")
def weights(pipeline, tmp_path_factory):
    root = tmp_path_factory.mktemp("weights")
    pipeline.save(root / "emoji32/student", torch.float32)
    return root


@pytest.fixture
def picture(weights, monkeypatch, tmp_path, capsys):
    """Pixels, JSON and stderr of one picture."""
    monkeypatch.setattr(trained_models, "SHIPPED_WEIGHTS", weights)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[np.ndarray, dict, str]:
        code = cli.invoke(["generate", "--steps", "4", "--seed", "3", "--json", *arguments])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        pixels = np.asarray(Image.open(tmp_path / "image.png"))
        return pixels, json.loads(captured.out), captured.err

    return call


def test_fp32_is_the_default_and_bit_for_bit_what_the_model_makes(picture, pipeline):
    expected = pipeline.generate([0], [3], num_inference_steps=4).images[0].numpy()
    pixels, result, told = picture()
    assert (result["precision"], told) == ("fp32", "")
    assert np.array_equal(pixels, expected)
    assert np.array_equal(picture("--precision", "fp32")[0], expected)


@pytest.mark.parametrize("policy", ["full", "static"])
def test_bf16_is_another_arithmetic_near_fp32(picture, policy):
    exact = picture("--policy", policy)[0].astype(float)
    pixels, result, _ = picture("--policy", policy, "--precision", "bf16")
    assert result["precision"] == "bf16"
    assert 0 < np.abs(pixels - exact).mean() < MOST_APART


def test_bf16_under_a_budget_keeps_it(picture):
    result = picture("--budget", "0.6", "--precision", "bf16")[1]
    assert 0 < result["gflops"] <= 0.6 * result["gflops_full"]


@pytest.mark.parametrize("units", [True, False])
def test_whoever_asks_for_bf16_without_units_is_told(picture, weights, monkeypatch, caplog, units):
    monkeypatch.setattr(executor, "has_bf16_units", lambda: units)
    assert (SLOW in picture("--precision", "bf16")[2]) is not units
    assert SLOW not in picture()[2]
    load_generator(weights / "emoji32/student", "cpu", "bf16")
    load_generator(weights / "emoji32/student", "cpu")
    assert [SLOW in record.getMessage() for record in caplog.records] == [True] * (not units)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("int8", "--precision must be fp32 or bf16, got int8: torch's int8 is slower"),
        ("bf61", "--precision must be one of fp32, bf16, got bf61. Did you mean bf16?"),
    ],
)
def test_another_precision_is_one_sentence(capsys, given, sentence):
    assert cli.invoke(["generate", "--precision", given]) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1
