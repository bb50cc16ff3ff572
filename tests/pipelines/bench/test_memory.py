"""Memory is measured: what a call takes is seen, whatever the process took before."""

import pytest
import torch

from nitrogen.model.policies import Full
from nitrogen.model.request import Request
from nitrogen.model.sampler import Sampler
from nitrogen.pipelines.bench import memory
from nitrogen.pipelines.bench.memory import peak_bytes
from nitrogen.pipelines.bench.scaling import measure
from nitrogen.pipelines.bench.scaling_step import Step

MIB = 2**20


def one_block(mib):
    return lambda: torch.ones(mib * MIB // 4).sum()


def many_small(mib):
    """By tensors of 64 KiB, which come from the heap."""
    return lambda: len([torch.ones(MIB // 64) for _ in range(mib * 16)])


def most(call):
    """The largest of three readings: a kernel that takes cold pages of the process meanwhile, as a
    busy machine's does, makes one low and none high."""
    return max(peak_bytes(call) for _ in range(3))


@pytest.fixture
def measured():
    if peak_bytes(lambda: None) is None:
        pytest.skip("this machine tells no peak: no glibc, or a kernel that does not reset VmHWM")


@pytest.mark.parametrize("earlier", [one_block, many_small])
@pytest.mark.parametrize("call", [one_block, many_small])
def test_a_call_is_seen_after_a_larger_one(measured, earlier, call):
    assert most(earlier(256)) == pytest.approx(256 * MIB, rel=0.2)
    assert most(call(64)) == pytest.approx(64 * MIB, rel=0.2)
    assert peak_bytes(lambda: None) < MIB


def test_a_sampler_is_seen_again_and_again(measured, models):
    sampler = Sampler(models.student.denoiser, Full())
    run = lambda: sampler.run([Request(0, seed, 2) for seed in range(8)])  # noqa: E731
    run()
    many_small(64)()
    first, second = peak_bytes(run), peak_bytes(run)
    # At least the pictures and their caches; and no less because it ran before.
    assert first > MIB / 4
    assert second == pytest.approx(first, rel=0.5)


def test_every_path_of_a_step_has_a_peak(measured, models):
    step = Step.of(models.teacher.denoiser, models.student.predictor, 64, 2, 0.25)
    for path in step.paths().values():
        path()
    many_small(64)()
    assert all(peak > 0 for peak in measure(step, 2)["peak_mib"].values())


@pytest.mark.parametrize("missing", ["hand_back", "_reset_peak"])
def test_what_cannot_be_measured_is_not_told(monkeypatch, missing):
    called = []
    monkeypatch.setattr(memory, missing, lambda: False)
    assert peak_bytes(lambda: called.append(1)) is None
    assert called == [1]
