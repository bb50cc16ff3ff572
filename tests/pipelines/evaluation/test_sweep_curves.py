"""Pareto fronts, the choice of a point, and the distances that it is made of."""

import numpy as np
import pytest
import torch

from nitrogen.model.config import ArchConfig
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.pipeline import Pipeline
from nitrogen.pipelines.evaluation.sweep_curves import (
    choose,
    full_curve,
    pareto_front,
    teacher_images,
)
from nitrogen.pipelines.evaluation.trial import score, write_reference
from nitrogen.pipelines.sampling import OperatingPoint, draws


def points(*pairs):
    return [{"gflops": gflops, "distance": distance} for gflops, distance in pairs]


def test_front_holds_what_nobody_beats():
    found = pareto_front(points((3, 1.0), (1, 3.0), (2, 2.0), (2, 2.5), (4, 1.0)))
    assert found == [1, 2, 0]


def test_a_single_point_is_the_front():
    assert pareto_front(points((1, 1))) == [0]


def test_the_cheapest_point_within_reach_is_chosen():
    choice = choose(points((3, 1.0), (1, 3.0), (2, 1.9), (2, 1.5)), 0.8, 2.5)
    assert choice.point == {"gflops": 2, "distance": 1.5}
    assert choice.within
    assert choice.reason == "the cheapest point within 2, 2.5 times the full model's distance"


def test_without_one_in_reach_the_nearest_is_chosen_and_said_to_be_so():
    choice = choose(points((4, 1.0), (3, 1.0), (1, 3.0)), 0.4, 2)
    assert choice.point == {"gflops": 3, "distance": 1.0}
    told = choice.to_dict()
    assert told["within"] is False
    assert (told["ratio"], told["most_distance"]) == (2, 0.8)
    assert told["reason"] == (
        "no point is within 0.8, 2 times the full model's distance; the nearest was taken"
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_the_bound_and_the_points_are_measured_on_the_same_seeds(tmp_path, seed):
    """A student that is its teacher, at full width, is exactly as far as the teacher."""
    torch.manual_seed(0)
    arch = ArchConfig(
        image_size=16, patch_size=2, channels=(16, 32), num_blocks=(1, 1), num_attention_blocks=1,
        head_channels=16, cond_channels=16, num_classes=3,
    )  # fmt: skip
    denoiser = Denoiser(arch)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter += torch.randn_like(parameter) * 0.05  # gates start at zero
    pipeline = Pipeline(denoiser, ["a", "b", "c"])
    pipeline.save(tmp_path / "teacher", torch.float32)
    drawn = draws("sweep", 5, np.array([0, 1, 2]), seed)
    images = teacher_images(str(tmp_path / "teacher"), drawn, 9, "dpmpp_2m", "cpu", "fp32")
    write_reference(tmp_path / "reference.npz", drawn, images)
    (row,) = full_curve(str(tmp_path / "teacher"), drawn, images, (3,), "dpmpp_2m")
    settings = {
        "reference": str(tmp_path / "reference.npz"), "device": "cpu", "sampling_precision": "fp32",
    }  # fmt: skip
    scored = score(pipeline, OperatingPoint(policy="full", num_inference_steps=3), settings)
    assert scored["distance"] == row["distance"] > 0
