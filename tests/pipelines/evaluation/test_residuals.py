"""The promise of the exit threshold on a real student, tiny but trained; and evaluate's curve."""

import numpy as np
import pytest
import torch

from nitrogen.model.config import ArchConfig
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.pipeline import Pipeline
from nitrogen.pipelines.bench.calibrate import calibrate, pairs
from nitrogen.pipelines.bench.models import Models
from nitrogen.pipelines.evaluation import measure
from nitrogen.pipelines.evaluation.residuals import Uniform, reliability_of
from nitrogen.pipelines.evaluation.samples import Bench
from nitrogen.pipelines.metrics.calibration import realised
from nitrogen.pipelines.sampling import Draws, OperatingPoint
from nitrogen.pipelines.steps.evaluate import EvaluateConfig
from nitrogen.pipelines.training.config import StudentConfig
from nitrogen.pipelines.training.student import StudentTask

ARCH = ArchConfig(
    image_size=16, patch_size=2, channels=(8, 16), num_blocks=(1, 1), num_attention_blocks=1,
    head_channels=8, cond_channels=16, num_classes=3,
)  # fmt: skip
CLASSES = ("a", "b", "c")
STEPS, DELTA = 6, 0.2


def numbered(first, num):
    return Draws([i % 3 for i in range(num)], list(range(first, first + num)))


TUNE, REPORT = numbered(1000, 192), numbered(50_000, 256)


@pytest.fixture(scope="module")
def models():
    """A teacher of random weights, and what was distilled from it: predictor and all."""
    torch.manual_seed(0)
    teacher = Denoiser(ARCH)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter += torch.randn_like(parameter) * 0.1
    task = StudentTask(ARCH, StudentConfig(num_steps=(STEPS,)), teacher)
    optimizer = torch.optim.Adam(task.trained.denoiser.parameters(), lr=4e-3)
    optimizer.add_param_group({"params": task.trained.predictor.parameters(), "lr": 2e-2})
    for step in range(40):
        generator = torch.Generator().manual_seed(step)
        x_0 = torch.rand(8, 16, 16, 3, generator=generator) * 2 - 1
        loss, _ = task(x_0, torch.arange(8) % 3, generator, 1.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    student = Pipeline(task.trained.denoiser, CLASSES, task.trained.predictor)
    return Models(Pipeline(teacher, CLASSES), student, {}, {}, "", "made up", "")


@pytest.fixture(scope="module")
def unseen(models):
    return pairs(models, Uniform(), REPORT, STEPS)


@pytest.fixture(scope="module")
def eps(unseen):
    """Bounds that holding everything breaks for far more than delta of the regions."""
    return [float(np.nanquantile(unseen.actual, share)) for share in (0.3, 0.5, 0.7)]


def test_the_promise_holds_on_unseen_pictures(models, unseen, eps):
    found = calibrate(models, Uniform(), TUNE, REPORT, num_steps=STEPS, eps=eps, delta=DELTA)
    chosen = [one for one in found["thresholds"] if one["value"] is not None]
    assert chosen, "some region can be told apart"
    for one in chosen:
        assert one["bound"] <= DELTA
        assert one["unseen"]["n"] > 0
        assert one["unseen"]["value"] <= DELTA
        assert one["holds"]
        everyone = realised(unseen.predicted, unseen.actual, np.inf, one["eps"])
        assert everyone["value"] > DELTA, "nothing would have been promised"
    assert found["n"] == len(REPORT)
    assert found["n_calibration"] == len(TUNE)


def test_the_curve_is_of_every_region_that_may_exit(models, unseen):
    found = reliability_of(models.student, models.teacher.denoiser, REPORT, STEPS, "dpmpp_2m")
    assert (found["n"], found["num_steps"]) == (len(REPORT), STEPS)
    assert sum(row["n"] for row in found["rows"]) == np.isfinite(unseen.actual).sum()
    predicted = [row["predicted"] for row in found["rows"]]
    assert predicted == sorted(predicted)
    assert all(row["low"] <= row["actual"] <= row["high"] for row in found["rows"])
    actual = sum(row["actual"] * row["n"] for row in found["rows"])
    assert actual == pytest.approx(np.nansum(unseen.actual), rel=1e-2)


def test_evaluate_makes_the_curve_where_there_is_one(models):
    def made(student, num_calibration):
        point = OperatingPoint(policy="full", num_inference_steps=STEPS)
        bench = Bench(models.teacher, student, None, point, None, None, 0)
        config = EvaluateConfig(num_calibration=num_calibration)
        return measure.measure_calibration(config, bench, REPORT)

    found = made(models.student, 8)
    assert found["n"] == 8
    dense = reliability_of(
        models.student, models.teacher.denoiser, numbered(50_000, 8), STEPS, "dpmpp_2m"
    )
    for row, same in zip(found["rows"], dense["rows"], strict=True):
        assert row == pytest.approx(same, rel=1e-2)
    assert made(models.student, 0) is None
    assert made(Pipeline(models.student.denoiser, CLASSES), 8) is None
