"""Device, precision and solver of the recipe, where pictures are made and served."""

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from nitrogen.model.denoiser import Denoiser
from nitrogen.model.errors import ModelError
from nitrogen.model.pipeline import Pipeline
from nitrogen.pipelines.context import StepContext, StepOutput
from nitrogen.pipelines.evaluation import measure
from nitrogen.pipelines.evaluation.rows import Known
from nitrogen.pipelines.evaluation.samples import Bench, sample_all
from nitrogen.pipelines.evaluation.sweep_curves import full_curve, static_curve, teacher_images
from nitrogen.pipelines.evaluation.trial import at_threshold, score, write_reference
from nitrogen.pipelines.generator import load_generator, read_golden
from nitrogen.pipelines.precision import autocast, check_device
from nitrogen.pipelines.sampling import Draws, OperatingPoint, student_images
from nitrogen.pipelines.steps.evaluate import EvaluateConfig
from nitrogen.pipelines.steps.promote import PromoteConfig, build_bundle
from nitrogen.platform.errors import BundleError, ConfigError

DATA = SimpleNamespace(images=None, labels=None, classes=())
DRAWN = Draws([0, 1, 2], [11, 12, 13])
POLICIES = {
    "full": {}, "static": {}, "random": {}, "threshold": {"threshold": 0.01},
    "budget": {"budget": 0.5},
}  # fmt: skip


@pytest.fixture(scope="module")
def saved(pipeline, tmp_path_factory):
    directory = tmp_path_factory.mktemp("model")
    pipeline.save(directory, torch.float32)
    return directory


@pytest.fixture
def seen(monkeypatch):
    """The dtypes that the network answered in."""
    found = set()
    forward = Denoiser.forward

    def watched(self, *args, **kwargs):
        found.add(torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu"))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(Denoiser, "forward", watched)
    # The call that makes all steps asks no Denoiser.
    monkeypatch.setattr("nitrogen.model.sampler.whole_steps", lambda *_: None)
    return found


@pytest.mark.parametrize("policy", POLICIES)
def test_bf16_samples_every_policy_and_alone_equals_in_a_batch(pipeline, policy):
    options = {"num_inference_steps": 4, "policy": policy, **POLICIES[policy]}
    exact = pipeline.generate([0, 1, 2], [5, 6, 7], **options)
    with autocast("cpu", "bf16"):
        together = pipeline.generate([0, 1, 2], [5, 6, 7], **options)
        alone = pipeline.generate([1], [6], **options)
    assert not torch.equal(exact.images, together.images)  # it was another arithmetic
    if policy == "full":  # others may decide otherwise at a tie
        difference = (exact.images.float() - together.images.float()).abs()
        assert difference.mean() < 3
    assert torch.equal(together.images[1], alone.images[0])


@pytest.mark.parametrize(("precision", "expected"), [("fp32", False), ("bf16", torch.bfloat16)])
def test_sweep_and_evaluation_sample_in_the_recipes_precision(
    pipeline, saved, tmp_path, seen, precision, expected, monkeypatch
):
    images = teacher_images(saved, DRAWN, 4, "dpmpp_2m", "cpu", precision)
    full_curve(saved, DRAWN, images, (2,), "dpmpp_2m", "cpu", precision)
    static_curve(saved, DRAWN, images, 2, "dpmpp_2m", "cpu", precision)
    write_reference(tmp_path / "reference.npz", DRAWN, images)
    settings = {"device": "cpu", "sampling_precision": precision}
    point = {"policy": "threshold", "threshold": 0.01, "num_inference_steps": 2}
    bench = Bench(
        pipeline, pipeline, pipeline.denoiser, _point(point), DATA, DATA, 0, "cpu", precision,
    )  # fmt: skip
    score(pipeline, _point(point), settings | {"reference": str(tmp_path / "reference.npz")})
    config = EvaluateConfig(num_images=16, num_reference=16, num_inference_steps=2)
    sampled = sample_all(config, bench, DRAWN, _Silent(), tmp_path)
    monkeypatch.setattr(measure, "bias_table", lambda *_: {})
    known = Known(lambda images: images, None, None, None)
    measure.measure_bias(config, bench, DRAWN, sampled, known)
    assert seen == {expected}
    assert len(sampled[0].images) == 3


def test_no_threshold_of_a_sweep_spends_more_than_the_full_model(pipeline):
    settings = {"num_inference_steps": 4, "solver": "dpmpp_2m"}
    _, free = student_images(pipeline, _point({"threshold": 0.0, **settings}), DRAWN)
    assert all(one.gflops > one.gflops_full for one in free), "the predictor is not free"
    _, kept = student_images(pipeline, at_threshold(0.0, settings), DRAWN)
    assert all(0.8 * one.gflops_full < one.gflops <= one.gflops_full for one in kept)


def test_the_replicas_generator_serves_in_its_precision_and_tests_itself_in_fp32(saved, seen):
    (saved / "golden.json").write_text(json.dumps({"entries": []}))
    request = {
        "class": "a", "n": 1, "seed": 3, "num_inference_steps": 2, "policy": "full",
        "guidance_scale": 1.0,
    }  # fmt: skip
    generator = load_generator(saved, device="cpu", precision="bf16")
    assert generator.info()["precision"] == "bf16"
    generator.generate(request, lambda: False)
    assert seen == {torch.bfloat16}
    seen.clear()
    load_generator(saved).generate(request, lambda: False)
    assert seen == {False}
    with pytest.raises(ConfigError, match="fp32 or bf16, got fp8"):
        load_generator(saved, precision="fp8")


def test_what_is_served_is_sampled_by_the_solver_that_was_promoted(pipeline, tmp_path):
    """From the point of the evaluation to the picture of a request that names no solver."""
    request = {
        "class": "b", "n": 1, "seed": 12, "num_inference_steps": 4, "policy": "budget",
        "budget": 0.5, "guidance_scale": 1.0,
    }  # fmt: skip
    pictures = {}
    pipeline.save(tmp_path / "student", torch.float32)
    for solver in (None, "dpmpp_2m", "unipc", "heun"):
        point = {"policy": "budget", "budget": 0.5, "threshold": None, "num_inference_steps": 4}
        evaluated = {"operating_point": point | {"solver": solver}} if solver else {}
        inputs = {
            "distill": StepOutput(tmp_path, {"student": "student"}),
            "evaluate": StepOutput(tmp_path, evaluated),
        }
        here = tmp_path / str(solver)
        bundle = build_bundle(PromoteConfig(), StepContext(dir=here, inputs=inputs))
        assert {e["request"]["solver"] for e in read_golden(bundle)} == {solver or "dpmpp_2m"}
        generator = load_generator(bundle)
        assert generator.info()["solver"] == (solver or "dpmpp_2m")
        (made,) = generator.generate(request, lambda: False)
        pictures[solver] = np.asarray(Image.open(io.BytesIO(made.png)))
        if solver:
            (measured,), _ = student_images(
                pipeline, OperatingPoint(**evaluated["operating_point"]), Draws([1], [12])
            )
            assert np.array_equal(pictures[solver], measured)
    assert np.array_equal(pictures[None], pictures["dpmpp_2m"]), "as bundles were served before"
    assert len({pictures[solver].tobytes() for solver in pictures}) == 3


@pytest.mark.parametrize(
    ("content", "error", "told"),
    [
        ("[1]", BundleError, r"operating_point\.json must hold .* Restore the bundle"),
        ("{", BundleError, r"operating_point\.json must hold .* Restore the bundle"),
        ('{"solver": "ddim"}', ModelError, "solver must be one of euler, .*, got 'ddim'"),
    ],
)
def test_a_damaged_operating_point_is_not_served(saved, tmp_path, content, error, told):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((saved / name).read_bytes())
    (tmp_path / "operating_point.json").write_text(content)
    with pytest.raises(error, match=told):
        load_generator(tmp_path)


def test_a_replica_tells_once_that_its_predictor_fails(saved, tmp_path, caplog):
    pipeline = Pipeline.load(saved)
    pipeline.predictor.enter.weight[0, 0] = float("nan")
    pipeline.save(tmp_path)
    generator = load_generator(tmp_path, device="cpu")
    request = {
        "class": "a", "n": 2, "seed": 3, "num_inference_steps": 2, "policy": "threshold",
        "guidance_scale": 1.0,
    }  # fmt: skip
    for _ in range(2):
        made = generator.generate(request, lambda: False)
        assert [image.metrics["fallbacks"] for image in made] == [2, 2]
    assert [r.getMessage()[:52] for r in caplog.records].count(
        "the predictor's answer was not finite at 4 steps, wh"
    ) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_one_sentence(saved):
    for attempt in (
        lambda: check_device("cuda"),
        lambda: load_generator(saved, device="cuda"),
        lambda: teacher_images(saved, DRAWN, 2, "euler", "cuda", "fp32"),
    ):
        with pytest.raises(ConfigError, match=r"executor\.device must .* got cuda .*Set executor"):
            attempt()


def test_full_images_are_bytes(saved):
    images = teacher_images(saved, DRAWN, 2, "euler", "cpu", "fp32")
    assert (images.dtype, images.shape) == (np.uint8, (3, 32, 32, 3))


def _point(fields):
    from nitrogen.pipelines.sampling import OperatingPoint

    return OperatingPoint(**fields)


class _Silent:
    def message(self, text):
        pass

    def update(self, **_):
        pass
