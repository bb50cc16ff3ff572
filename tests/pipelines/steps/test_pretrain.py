"""Pretraining that goes on from weights."""

import pytest
import torch

from nitrogen.model.config import ArchConfig
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.pipeline import Pipeline
from nitrogen.pipelines.recipe import load_recipe
from nitrogen.pipelines.steps.pretrain import PretrainConfig, fingerprint, start_weights
from nitrogen.platform.errors import ConfigError

ARCH = ArchConfig(
    image_size=16, channels=(8, 16), num_blocks=(1, 1), head_channels=8, cond_channels=16
)


def test_the_key_follows_the_bytes_of_the_start(tmp_path):
    keys = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        Pipeline(Denoiser(ARCH), ["one"]).save(tmp_path / "m", torch.float32, role="teacher")
        keys.append(fingerprint(PretrainConfig(start=str(tmp_path / "m"))))
    assert keys[0] != keys[1]
    assert fingerprint(PretrainConfig()) == {}


def test_shipped_names_the_shipped_teacher():
    weights = start_weights(PretrainConfig(start="shipped"))
    assert weights is not None
    assert weights.parent.name == "teacher"


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"pretrain\.start must be a model directory"):
        start_weights(PretrainConfig(start=str(tmp_path)))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("pretrain.preset=huge", r"^pretrain\.preset must be one of tiny, .*, got 'huge'"),
        ("pretrain.arch.width=3", r"^pretrain\.arch must hold known keys, got width\. Known here"),
        (
            "pretrain.arch.layer_width=[[0,[1,1,2]]]",
            r"^pretrain\.arch must not hold layer_width, got \[\[0, \[1, 1, 2\]\]\]: training is",
        ),
        ("pretrain.arch.patch_size=0", r"^pretrain\.arch\.patch_size must fit a network: .* got 0"),
        ("pretrain.arch.channels=[64]", r"^pretrain\.arch must fit a network: channels and num_"),
        (
            "distill.student.num_steps=[8,2]",
            r"student\.num_steps\.1 must be at least 3, got 2",
        ),
        ("distill.student.num_steps=[]", r"num_steps must be a list of at least 1, got \[\]"),
        ("seed=1e99", r"^seed must be a whole number, got 1e\+99"),
    ],
)
def test_a_wrong_network_is_refused_with_the_recipe(change, sentence):
    with pytest.raises(ConfigError, match=sentence):
        load_recipe("demo", [change])
