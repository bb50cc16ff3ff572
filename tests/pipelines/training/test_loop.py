"""Training: the same weights whether or not it was cut off, falling losses, clear failures."""

import pytest
import torch

from nitrogen.model.denoiser import Denoiser
from nitrogen.model.weights import load_tensors, prefixed, save_tensors
from nitrogen.pipelines.training.config import OptimConfig
from nitrogen.pipelines.training.loop import noise_seed
from nitrogen.pipelines.training.optimizer import build_optimizers, set_learning_rate
from nitrogen.pipelines.training.state import TENSORS
from nitrogen.platform.errors import TrainingError
from nitrogen.platform.training import run_local

TEACHER = "nitrogen.pipelines.training.teacher:train_teacher"
STUDENT = "nitrogen.pipelines.training.student:train_student"


def config(arch, data_uri, **optim):
    settings = {"num_images": 800, "batch_size": 8, "warmup_images": 80, **optim}
    return {
        "arch": arch.model_dump(mode="json"),
        "noise": {},
        "optim": settings,
        "data_uri": data_uri,
        "seed": 3,
        "precision": "fp32",
    }


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_resumed_equals_uninterrupted_bit_for_bit(arch, data_uri, tmp_path, optimizer):
    settings = config(arch, data_uri, optimizer=optimizer)
    whole = run_local(TEACHER, settings, tmp_path / "whole")
    reports = []
    stopped = run_local(
        TEACHER, settings, tmp_path / "parts", reports.append,
        should_stop=lambda: len(reports) >= 1,
    )  # fmt: skip
    assert stopped.stopped
    assert stopped.metrics["images"] < 800
    resumed = run_local(TEACHER, settings, tmp_path / "parts")
    assert resumed.metrics["images"] == 800
    expected = load_tensors(whole.checkpoint / TENSORS)
    got = load_tensors(resumed.checkpoint / TENSORS)
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[name], expected[name]) for name in expected)


@pytest.mark.slow
def test_a_resumed_student_rolls_out_as_the_uninterrupted_one(arch, data_uri, tmp_path):
    torch.manual_seed(0)
    weights = tmp_path / "model.safetensors"
    save_tensors(weights, prefixed("denoiser.", Denoiser(arch).state_dict()))
    settings = config(arch, data_uri, num_images=240) | {"student": {}, "teacher": str(weights)}
    whole = run_local(STUDENT, settings, tmp_path / "whole")
    reports = []
    stopped = run_local(
        STUDENT, settings, tmp_path / "parts", reports.append,
        should_stop=lambda: len(reports) >= 1,
    )  # fmt: skip
    assert stopped.stopped
    resumed = run_local(STUDENT, settings, tmp_path / "parts")
    expected = load_tensors(whole.checkpoint / TENSORS)
    got = load_tensors(resumed.checkpoint / TENSORS)
    assert all(torch.equal(got[name], expected[name]) for name in expected)


@pytest.mark.slow
def test_loss_falls_and_samples_are_drawn(arch, data_uri, tmp_path):
    settings = config(arch, data_uri, num_images=1600, learning_rate=3e-3)
    result = run_local(TEACHER, settings, tmp_path)
    losses = [row["loss"] for row in result.history]
    assert losses[-1] < 0.7 * losses[0]
    assert (result.checkpoint / "samples.png").stat().st_size > 0


def test_seeds_change_the_weights(arch, data_uri, tmp_path):
    results = []
    for seed in (0, 1):
        settings = config(arch, data_uri, num_images=80) | {"seed": seed}
        result = run_local(TEACHER, settings, tmp_path / str(seed))
        results.append(load_tensors(result.checkpoint / TENSORS))
    first, second = (tensors["model.unet.stem.weight"] for tensors in results)
    assert not torch.equal(first, second)


def test_a_diverged_loss_is_one_sentence(arch, data_uri, tmp_path):
    settings = config(arch, data_uri, learning_rate=1e30, warmup_images=0)
    with pytest.raises(TrainingError, match="loss must be finite"):
        run_local(TEACHER, settings, tmp_path)


def test_noise_is_keyed_by_step_and_rank():
    seeds = {noise_seed(s, t, r) for s in range(3) for t in range(50) for r in range(4)}
    assert len(seeds) == 3 * 50 * 4
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_learning_rate_warms_up_and_decays():
    optim = OptimConfig(num_images=1000, batch_size=10, warmup_images=100, decay_share=0.5)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    rates = []
    for step in range(100):
        set_learning_rate([optimizer], optim, step)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[0] == pytest.approx(optim.learning_rate * 0.1)
    assert rates[10] == rates[49] == optim.learning_rate
    assert rates[-1] == pytest.approx(optim.learning_rate * 0.02)


def test_muon_takes_matrices_between_hidden_activations_only(arch):
    net = Denoiser(arch)
    muon, adamw = build_optimizers(net, OptimConfig(optimizer="muon"))
    names = {id(p): n for n, p in net.named_parameters()}
    taken = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    left = {names[id(p)] for group in adamw.param_groups for p in group["params"]}
    assert taken | left == set(names.values())
    assert not taken & left
    assert any(name.endswith("w_in") for name in taken)
    assert not any("conditioning" in name or "depthwise" in name for name in taken)


def test_a_start_is_where_training_begins(arch, data_uri, tmp_path):
    first = run_local(TEACHER, config(arch, data_uri), tmp_path / "first")
    start = tmp_path / "start.safetensors"
    tensors = load_tensors(first.checkpoint / TENSORS)
    average = {k.removeprefix("ema."): v for k, v in tensors.items() if k.startswith("ema.")}
    save_tensors(start, prefixed("denoiser.", average))
    settings = {**config(arch, data_uri, num_images=8, learning_rate=1e-12), "start": str(start)}
    second = load_tensors(run_local(TEACHER, settings, tmp_path / "second").checkpoint / TENSORS)
    name = "unet.stem.weight"
    assert torch.allclose(second["model." + name], tensors["ema." + name], atol=1e-6)
