"""Distillation: what is trained, what is frozen, and a penalty that has a gradient."""

import pytest
import torch

from nitrogen.model.denoiser import Denoiser
from nitrogen.model.leg import Leg
from nitrogen.model.losses import edm_weight, tilted_weight
from nitrogen.model.weights import save_tensors
from nitrogen.pipelines.precision import autocast
from nitrogen.pipelines.training import student
from nitrogen.pipelines.training.config import StudentConfig
from nitrogen.pipelines.training.student import StudentTask


@pytest.fixture
def teacher(arch):
    net = Denoiser(arch)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += torch.randn_like(parameter) * 0.1
    return net


def batch(arch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x_0 = torch.rand(8, arch.image_size, arch.image_size, 3, generator=generator) * 2 - 1
    return x_0, torch.arange(8) % arch.num_classes, torch.Generator().manual_seed(seed + 1)


def train(task, arch, steps, learning_rate=2e-3):
    parameters = [p for p in task.trained.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    history = []
    for step in range(steps):
        loss, parts = task(*batch(arch, step % 5), 1.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append({name: value.item() for name, value in parts.items()})
    return history


def test_the_relay_of_the_config_reaches_the_roll_outs(arch, teacher, tmp_path, monkeypatch):
    tasks = []
    monkeypatch.setattr(student, "train", lambda task, *rest: tasks.append(task))
    weights = {f"denoiser.{name}": value for name, value in teacher.state_dict().items()}
    save_tensors(tmp_path / "model.safetensors", weights)
    config = {
        "arch": arch.model_dump(), "student": {"strided": True}, "optim": {}, "data_uri": "",
        "seed": 0, "precision": "fp32", "teacher": str(tmp_path / "model.safetensors"),
    }  # fmt: skip
    told = {"legs": {"6": [2, 5.0, 0.15, 3.0]}, "prices": {}}
    told["cheaper"] = {"legs": {"5": [3, 1.5, 0.15, 3.0]}}
    for relay in (None, told):
        student.train_student(config | {"relay": relay}, None)
    without, of_relay = (task.explorer().legs for task in tasks)
    assert without == ()
    assert of_relay == (Leg(2, 5.0, 0.15, 3.0), Leg(3, 1.5, 0.15, 3.0))


def test_student_starts_as_the_teacher(arch, teacher):
    task = StudentTask(arch, StudentConfig(), teacher)
    _, parts = task(*batch(arch), 0.0)
    assert parts["full"].item() < 1e-9
    assert parts["narrow"].item() > 1e-4


@pytest.mark.slow
def test_narrow_widths_learn_and_the_teacher_stays(arch, teacher):
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    history = train(StudentTask(arch, StudentConfig(), teacher), arch, 40)
    first = sum(h["narrow"] for h in history[:5])
    assert sum(h["narrow"] for h in history[-5:]) < 0.7 * first
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


@pytest.mark.parametrize("strided", [False, True])
def test_every_trained_parameter_gets_a_gradient(arch, teacher, strided):
    task = StudentTask(arch, StudentConfig(gating_penalty=0.1, strided=strided), teacher)
    task(*batch(arch), 1.0)[0].backward()
    assert [n for n, p in task.trained.named_parameters() if p.grad is None] == []
    assert all(p.grad is None for p in task.teacher.parameters())


@pytest.mark.slow
def test_compute_falls_as_the_gating_penalty_rises(arch, teacher):
    computes = []
    for penalty in (0.0, 0.3, 3.0):
        torch.manual_seed(0)
        config = StudentConfig(gating_penalty=penalty, train_denoiser=False)
        history = train(StudentTask(arch, config, teacher), arch, 60)
        computes.append(sum(h["compute"] for h in history[-10:]) / 10)
    assert computes[0] > computes[1] > computes[2]


def test_predictor_alone_leaves_the_denoiser(arch, teacher):
    task = StudentTask(arch, StudentConfig(train_denoiser=False), teacher)
    before = {n: v.clone() for n, v in task.trained.denoiser.state_dict().items()}
    history = train(task, arch, 10)
    assert history[-1]["nll"] < history[0]["nll"]
    after = task.trained.denoiser.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_roll_outs_see_what_sampling_sees(arch, teacher):
    """First steps at the highest noise, regions held, and the predictor's own last answers."""
    task = StudentTask(arch, StudentConfig(held_share=0.5), teacher)
    states = [task.explorer().roll_out(*batch(arch, seed), 0.5) for seed in range(40)]
    assert any(bool((s.sigma == 80).any()) for s in states)
    assert any(bool((s.sigma_next == 0).any()) for s in states)
    assert any(bool((s.past.quarters == 0).all()) for s in states)
    assert any(bool((s.past.age > 0).any()) for s in states)
    assert any(bool((s.past.log_residual != 0).all()) for s in states)
    assert all(bool((s.sigma_next < s.sigma).all()) for s in states)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_trains_in_every_precision(arch, teacher, precision):
    task = StudentTask(arch, StudentConfig(), teacher)
    for seed in range(6):  # with and without a roll-out
        with autocast("cpu", precision):
            loss, _ = task(*batch(arch, seed), 1.0)
        loss.backward()
    assert all(bool(p.grad.isfinite().all()) for p in task.trained.parameters())


def parts_of(arch, teacher, seed=0, **changes):
    torch.manual_seed(0)
    task = StudentTask(arch, StudentConfig(**changes), teacher)
    loss, parts = task(*batch(arch, seed), 1.0)
    loss.backward()
    return task, {name: value.item() for name, value in parts.items()}


def test_without_distillation_the_data_is_the_target(arch, teacher):
    """A student that is its teacher has no error of the one kind, and all of the other."""
    _, distilled = parts_of(arch, teacher)
    task, plain = parts_of(arch, teacher, distilled=False)
    assert distilled["full"] < 1e-9
    x_0, labels, generator = batch(arch)
    state, target = task.stand(task.explorer(), x_0, labels, generator, 0.0)
    assert torch.equal(target, x_0)
    noise = (state.x_t - x_0) / state.sigma[:, None, None, None]
    assert 0.9 < noise.std() < 1.1, "x_t is x_0 with fresh noise, whatever was rolled out"
    assert plain["full"] > 0.1
    with pytest.raises(ValueError, match=r"strided must be false where distilled is"):
        StudentConfig(distilled=False, strided=True)


@pytest.mark.parametrize("changes", [{"same_noise": False}, {"distilled": False}])
def test_arms_of_the_ablation_train_everything(arch, teacher, changes):
    task, parts = parts_of(arch, teacher, gating_penalty=0.1, **changes)
    assert [n for n, p in task.trained.named_parameters() if p.grad is None] == []
    assert set(parts) == {"nll", "compute", "full", "narrow", "stale"}


def test_narrow_widths_answer_other_noise_where_they_are_to(arch, teacher):
    def asked(same_noise):
        task = StudentTask(arch, StudentConfig(same_noise=same_noise), teacher)
        x_0, labels, generator = batch(arch)
        return task.sandwich(task.explorer(), x_0, labels, generator, 0.0)

    (together,) = asked(True)
    assert len(together.answers) == 3
    full, narrow = asked(False)
    assert set(full.answers) == {4}
    assert 1 in narrow.answers
    assert 4 not in narrow.answers
    assert not torch.equal(full.state.x_t, narrow.state.x_t)
    assert torch.equal(full.state.x_t, together.state.x_t), "the full width's draws are the same"


def test_without_roll_outs_nothing_was_computed_before(arch, teacher):
    task = StudentTask(arch, StudentConfig(rollout_steps=0), teacher)
    states = [task.explorer().roll_out(*batch(arch, seed), 0.5) for seed in range(20)]
    assert all(bool((s.past.quarters == 0).all()) for s in states)


def test_the_tilt_moves_the_loss_toward_high_noise():
    sigma = torch.tensor([0.02, 0.3, 1.0, 20.0])
    assert torch.equal(tilted_weight(sigma, 0.5, 0.0), edm_weight(sigma, 0.5))
    ratio = tilted_weight(sigma, 0.5, 0.35) / edm_weight(sigma, 0.5)
    assert bool((ratio.diff() > 0).all())
    assert ratio[2] == 1
