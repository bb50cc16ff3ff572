"""A drawing that is cut off goes on with the next batch, to the same pictures and costs."""

import numpy as np
import pytest
import torch

from nitrogen.model.pipeline import Pipeline
from nitrogen.pipelines import sampling
from nitrogen.pipelines.kept_batches import KeptBatches
from nitrogen.pipelines.sampling import Draws, OperatingPoint, full_images, student_images

DRAWN = Draws([0, 1, 2, 1, 0], list(range(5)))
POINT = OperatingPoint(policy="budget", budget=0.5, num_inference_steps=3)


@pytest.fixture(autouse=True)
def pairs(monkeypatch):
    monkeypatch.setattr(sampling, "BATCH", 2)


def cut_off_after(num: int, monkeypatch) -> list[int]:
    """Sampling stops after that many batches; returns how many pictures each call was asked for."""
    asked, generate = [], Pipeline.generate

    def counted(self, labels, *rest, **options):
        if len(asked) == num:
            raise KeyboardInterrupt
        asked.append(len(labels))
        return generate(self, labels, *rest, **options)

    monkeypatch.setattr(Pipeline, "generate", counted)
    return asked


def test_what_was_drawn_is_not_drawn_again(pipeline, tmp_path, monkeypatch):
    images, stats = student_images(pipeline, POINT, DRAWN)
    kept = KeptBatches(tmp_path / "student")
    with monkeypatch.context() as patch:
        cut_off_after(2, patch)
        with pytest.raises(KeyboardInterrupt):
            student_images(pipeline, POINT, DRAWN, kept=kept)
    asked = cut_off_after(9, monkeypatch)
    again, costs = student_images(pipeline, POINT, DRAWN, kept=kept)
    assert asked == [1], "two batches of two were kept"
    np.testing.assert_array_equal(again, images)
    for one, other in zip(costs, stats, strict=True):
        assert (one.gflops, one.gflops_full, one.num_steps) == (
            other.gflops, other.gflops_full, other.num_steps,
        )  # fmt: skip
        assert one.active_fraction == other.active_fraction
        assert isinstance(one.fallbacks, int)
        assert torch.equal(one.heatmap, other.heatmap)


def test_a_damaged_file_is_drawn_again(pipeline, tmp_path, monkeypatch):
    images = full_images(pipeline.denoiser, DRAWN, 2, kept=KeptBatches(tmp_path))
    first, second, third = sorted(tmp_path.iterdir())
    first.write_bytes(first.read_bytes()[:50])
    second.write_bytes(b"")
    asked = cut_off_after(9, monkeypatch)
    again = full_images(pipeline.denoiser, DRAWN, 2, kept=KeptBatches(tmp_path))
    assert asked == [2, 2], third
    np.testing.assert_array_equal(again, images)
