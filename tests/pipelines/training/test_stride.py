"""What a strided student is taught: one Euler step lands where the teacher's ODE does."""

import pytest
import torch

from nitrogen.model.denoiser import Denoiser
from nitrogen.model.schedules import KARRAS, karras_sigmas, sampling_sigmas
from nitrogen.model.solvers import slide
from nitrogen.pipelines.training.config import StudentConfig
from nitrogen.pipelines.training.stride import stride_target
from nitrogen.pipelines.training.student import StudentTask, student_arch

VARIANCE = 0.25


def gaussian(x, sigma, labels):
    """The ideal denoiser of data ~ N(0, VARIANCE)."""
    return x * (VARIANCE / (VARIANCE + sigma**2))[:, None, None, None]


def exact(x, sigma, sigma_next):
    return x * ((VARIANCE + sigma_next**2) / (VARIANCE + sigma**2)).sqrt()[:, None, None, None]


def test_a_step_lands_where_the_ode_does():
    sigma = torch.tensor([20.0, 2.0, 0.5], dtype=torch.float64)
    sigma_next = torch.tensor([8.0, 0.7, 0.0], dtype=torch.float64)
    x = torch.randn(3, 4, 4, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = x * sigma[:, None, None, None]
    truth = exact(x, sigma, sigma_next)

    def error(num_substeps):
        target = stride_target(gaussian, x, sigma, sigma_next, torch.zeros(3), num_substeps)
        return (slide(x, target, sigma, sigma_next) - truth).abs().mean(dim=(1, 2, 3))

    plain = (slide(x, gaussian(x, sigma, None), sigma, sigma_next) - truth).abs()
    torch.testing.assert_close(error(1), plain.mean(dim=(1, 2, 3)))
    # Of second order: about four times as near for twice as many; but for the end at 0, which is
    # reached by a D alone.
    for few in (2, 4, 8):
        assert bool((error(2 * few) < 0.3 * error(few))[:2].all())
        assert error(2 * few)[2] < 0.8 * error(few)[2]


def test_a_strided_student_starts_as_its_teacher(arch):
    torch.manual_seed(0)
    teacher = Denoiser(arch)
    for parameter in teacher.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    student = StudentTask(arch, StudentConfig(strided=True), teacher).trained.denoiser
    x, labels = torch.randn(2, 32, 32, 3), torch.zeros(2, dtype=torch.int64)
    sigma = torch.tensor([1.0, 0.3])
    ours, _ = student(x, sigma, labels, sigma_next=sigma / 2)
    theirs, _ = teacher(x, sigma, labels)
    assert torch.equal(ours, theirs)
    torch.nn.init.normal_(student.unet.conditioning.w_stride)
    changed, _ = student(x, sigma, labels, sigma_next=sigma / 2)
    assert not torch.allclose(changed, theirs)


@pytest.mark.parametrize("sigma_min", [None, 0.15])
def test_a_strided_run_does_not_stop_at_the_least_noise(arch, sigma_min):
    strided = arch.model_copy(update={"strided": True, "stride_sigma_min": sigma_min})
    for num_steps in (1, 2, 5, 12):
        levels = sampling_sigmas(num_steps, strided)
        assert len(levels) == num_steps + 1
        assert levels[0] == 80
        assert levels[-1] == 0
        assert levels[-2] > (sigma_min or KARRAS.sigma_min)
        assert bool((levels.diff() < 0).all())
    assert torch.equal(sampling_sigmas(7, arch), karras_sigmas(7))


def test_a_student_strides_evenly_and_keeps_its_levels(arch):
    config = StudentConfig(strided=True, stride_sigma_min=0.2)
    levels = sampling_sigmas(5, student_arch(arch, config))[:-1]
    ratios = levels[1:] / levels[:-1]
    torch.testing.assert_close(ratios, torch.full_like(ratios, (0.2 / 80) ** 0.2))
    assert student_arch(arch, StudentConfig()).stride_sigma_min is None


@pytest.mark.parametrize("bounds", [(), ((0.5, (1, 2)), (0.0, (2, 1)))])
def test_the_teachers_answer_is_that_of_its_dense_path_whatever_it_is_bounded_by(arch, bounds):
    torch.manual_seed(0)
    arch = type(arch)(**arch.model_dump() | {"layer_width": bounds})
    teacher = Denoiser(arch)
    for parameter in teacher.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x, labels = torch.randn(3, 32, 32, 3), torch.arange(3)
    sigma = torch.tensor([20.0, 1.0, 0.05])
    with torch.no_grad():
        dense, _ = teacher(x, sigma, labels)
    found = StudentTask(arch, StudentConfig(), teacher).ask_teacher(x, sigma, labels)
    assert not found.requires_grad
    torch.testing.assert_close(found, dense, rtol=1e-5, atol=1e-5)
