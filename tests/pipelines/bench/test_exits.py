"""Exit alone saves forwards at 35 dB to no exit, on the same seeds, of the right denoiser."""

import dataclasses

import numpy as np
import pytest
import torch

from nitrogen.model.pipeline import Pipeline
from nitrogen.model.policies import Full
from nitrogen.model.predictor import Predictor
from nitrogen.pipelines.bench import exits
from nitrogen.pipelines.bench.controls import ExitAlone
from nitrogen.pipelines.bench.exits import (
    MIN_PSNR_DB,
    chosen_threshold,
    drawn_by,
    exiting,
    forward_passes_saved,
    pooled_psnr,
    saved,
)
from nitrogen.pipelines.bench.models import Models
from nitrogen.pipelines.bench.quality import Sampled, psnr
from nitrogen.pipelines.sampling import Draws

GRID = tuple(10.0**k for k in range(-6, 0))


def test_shares_saved_by_exit():
    widths = np.zeros((2, 4, 2, 2), np.uint8)
    widths[0, :2] = 4
    widths[1] = 4
    widths[1, 3, 0] = 0
    regions, samples = saved(Sampled(np.zeros((2, 1)), np.zeros(2), np.zeros(2), widths))
    np.testing.assert_allclose(regions, [0.5, 2 / 16])
    np.testing.assert_allclose(samples, [0.5, 0.0])


def errors_of(bound: float, shape: tuple[int, ...] = (4, 2, 2, 3)) -> Sampled:
    """Pictures whose squared error in [0, 1] to black ones is `bound`."""
    return Sampled(np.full(shape, 2 * np.sqrt(bound) - 1), np.zeros(4), np.zeros(4), None)


@pytest.mark.parametrize(
    ("scale", "expected"), [(1.0, 1e-4), (0.1, 1e-3), (1e-9, 1e-1), (1e4, None)]
)
def test_the_threshold_is_the_largest_that_keeps_35_db(monkeypatch, scale, expected):
    tried = []

    def fake(models, policy, drawn, num_steps):
        if isinstance(policy, Full):
            return errors_of(0.0)
        tried.append(policy.threshold)
        return errors_of(scale * policy.threshold)

    monkeypatch.setattr(exits, "drawn_by", fake)
    found = chosen_threshold(None, None, 50, GRID)
    assert found == (pytest.approx(expected) if expected else None)
    assert len(tried) <= 3
    if expected:
        assert (
            psnr(scale * expected) >= MIN_PSNR_DB > psnr(scale * expected * 10) or expected == 0.1
        )


def test_the_threshold_is_chosen_by_what_the_figure_is_judged_by(monkeypatch):
    """The mean of the pictures' dB at its lower end: a few bad ones ruin their pooled error."""

    def fake(models, policy, drawn, num_steps):
        if isinstance(policy, Full):
            return errors_of(0.0, (40, 2, 2, 3))
        made = errors_of(0.1 * policy.threshold, (40, 2, 2, 3))
        made.x_0[:2] = errors_of(0.05, (2, 2, 2, 3)).x_0  # 13 dB, at every threshold
        return made

    monkeypatch.setattr(exits, "drawn_by", fake)
    assert chosen_threshold(None, None, 50, GRID) == pytest.approx(1e-3)


def test_psnr_is_of_all_pictures_together():
    # One picture without any error does not make up for a bad one.
    found = pooled_psnr(np.array([0.0, 1e-3]))
    assert found["value"] == pytest.approx(float(psnr(5e-4)))
    assert found["value"] < psnr(np.array([0.0, 1e-3])).mean()
    assert found["low"] <= found["value"] <= found["high"]


def test_a_strided_students_predictor_exits_the_full_model(strided, models, drawn):
    name, used = exiting(strided)
    assert name == "teacher"
    assert used.student.denoiser is strided.teacher.denoiser
    assert used.student.predictor is strided.student.predictor
    assert exiting(models) == ("student", models)
    # Without exits it is the teacher's own run.
    full = drawn_by(used, Full(), drawn, 6)
    teacher = strided.teacher.generate(
        drawn.labels, drawn.seeds, num_inference_steps=6, solver="euler"
    )
    np.testing.assert_array_equal(full.images, teacher.images.numpy())


class Falling(Predictor):
    """Its residual falls with the noise, sooner in the regions above and to the left."""

    def forward(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        answer = super().forward(features, labels)
        _, rows, columns, _ = features.shape
        later = (torch.arange(rows)[:, None] + torch.arange(columns))[..., None]
        residual = answer[..., :1] + 8 * features[..., :1] + later  # 8 times log(sigma) / 4
        return torch.cat([residual, answer[..., 1:]], dim=-1)


def with_falling(models: Models) -> Models:
    predictor = Falling(models.arch)
    predictor.load_state_dict(models.student.predictor.state_dict())
    student = Pipeline(models.student.denoiser, models.student.classes, predictor)
    return dataclasses.replace(models, student=student)


def test_what_exit_alone_saves_is_what_was_not_computed(models, strided, drawn):
    few = Draws(drawn.labels[:4], drawn.seeds[:4])
    for one in (with_falling(models), with_falling(strided)):
        found = forward_passes_saved(one, few, few, 12, (1e-9, 1e-5, 1e-3, 1e9))
        name, used = exiting(one)
        assert found["denoiser"] == name
        assert found["regions"]["value"] > 0, "nothing exits: nothing is shown"
        assert found["psnr_db_pooled"]["value"] >= MIN_PSNR_DB
        assert found["holds"] == (found["psnr_db"]["low"] >= MIN_PSNR_DB)
        alone = drawn_by(used, ExitAlone(found["threshold"]), few, 12)
        widths = torch.from_numpy(alone.widths)
        assert set(widths.unique().tolist()) == {0, 4}
        computed = (widths > 0).flatten(2)
        assert not (computed[:, 1:] & ~computed[:, :-1]).any(), "an exit is for good"
        assert found["regions"]["value"] == pytest.approx(1 - computed.double().mean().item())
        whole = 1 - computed.any(dim=2).double().mean().item()
        assert found["samples"]["value"] == pytest.approx(whole)
        assert found["samples"]["value"] < found["regions"]["value"]
        assert found["psnr_db_pooled"]["value"] <= found["psnr_db"]["value"] + 1e-9
