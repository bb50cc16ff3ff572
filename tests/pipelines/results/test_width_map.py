"""The figure of widths, on a student of random weights."""

import numpy as np
import pytest
import torch
from PIL import Image

from nitrogen.model.config import ArchConfig
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.pipeline import Pipeline
from nitrogen.model.policies import Budget
from nitrogen.model.predictor import Predictor
from nitrogen.pipelines.results.files import BenchFile
from nitrogen.pipelines.results.width_map import WidthMap, drawn, policy_of, shown, tuned_setting
from nitrogen.platform.errors import ConfigError

ARCH = ArchConfig(
    image_size=16, patch_size=2, channels=(16,), num_blocks=(1,), num_attention_blocks=0,
    head_channels=16, cond_channels=16, num_classes=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def student() -> Pipeline:
    torch.manual_seed(0)
    return Pipeline(Denoiser(ARCH), ["a/x", "b/y", "c"], Predictor(ARCH))


@pytest.mark.slow
@pytest.mark.parametrize("steps", [3, 9])
def test_the_figure_fits_a_readme_in_both_themes(student, result, tmp_path, steps):
    file = BenchFile(tmp_path / "f.json", "frontier", result, "emoji64")
    setting = tuned_setting(result)
    assert setting["tier"] == "middle"
    changed = dict(result, rows=[{"group": "ours", "setting": {**setting, "num_steps": steps}}])
    file = BenchFile(tmp_path / "f.json", "frontier", changed, "emoji64")
    paths = WidthMap(student, "b" * 64, "d" * 64)(file, tmp_path / "widths")
    assert [path.name for path in paths] == ["widths.png", "widths-dark.png"]
    assert [Image.open(path).width for path in paths] == [1200, 1200]


def test_another_student_than_that_of_the_file_is_refused(student, result, tmp_path):
    file = BenchFile(tmp_path / "f.json", "frontier", result, "emoji64")
    with pytest.raises(ConfigError, match="another one"):
        WidthMap(student, "c" * 64, "d" * 64)(file, tmp_path / "widths")


def test_pictures_go_from_the_cheapest_to_the_dearest(student):
    finished = drawn(student, {"budget": 0.5, "num_steps": 3, "threshold": 1e-3})
    flops = np.array([one.flops for one in finished])
    picked = shown(finished)
    costs = [one.flops for _, one in picked]
    assert costs == sorted(costs)
    assert (costs[0], costs[-1]) == (flops.min(), flops.max())
    assert all(finished[seed] is one for seed, one in picked)


def test_the_policy_is_that_of_the_benchmark(student):
    setting = {"budget": 0.5, "num_steps": 3, "threshold": 1e-3}
    assert policy_of(student, setting) == Budget(1e-3)
    assert policy_of(student, setting | {"price": 1e-9}) == Budget(1e-3, 1e-9)
    assert policy_of(student, setting | {"served": True}) == Budget(1e-3)
