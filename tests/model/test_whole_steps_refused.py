"""What several steps in one call refuse: what C++ would read or write past an end of."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from nitrogen.kernels.cpu.library import cpu_available, load
from nitrogen.model import whole_steps as together
from nitrogen.model.policies import Budget
from nitrogen.model.request import Request
from nitrogen.model.sampler import Sampler

pytestmark = pytest.mark.skipif(not cpu_available(), reason="no compiler, no AVX2")


@pytest.fixture
def call(bounded, predictor, monkeypatch):
    """What a step of a guided batch under bounds hands to C++: function, batch and the rest."""
    handed = []
    run = together.run_steps

    def seen(*args, **options):
        handed.append((args, options))
        return run(*args, **options)

    monkeypatch.setattr(together, "run_steps", seen)
    sampler = Sampler(bounded, Budget(price=1e-10), predictor=predictor)
    sampler.steps(sampler.start([Request(0, 1, 6), Request(1, 2, 6, 2.0, 0.6)]), 1)
    (batch, rules, network, unet), options = handed[0]

    def again(unet=unet, rules=rules, **changed):
        return run(batch | changed, rules, network, unet, **options)

    return again, batch, unet


def test_every_tensor_of_another_dtype_or_length_is_refused(call):
    again, batch, _ = call
    assert len(again().widths) == 1
    for name, right in batch.items():
        kind = torch.float16 if right.is_floating_point() else torch.int32
        for wrong in (right.to(kind), right.to("meta"), right[1:], torch.cat([right, right])):
            with pytest.raises(TypeError, match=r"must get|must be of"):
                again(**{name: wrong})
    for name in ("guidance", "sigma_last"):
        with pytest.raises(TypeError, match="one entry"):
            again(**{name: batch[name][:, None]})
    with pytest.raises(TypeError, match="at least one sample"):
        again(**{name: right[:0] for name, right in batch.items()})
    with pytest.raises(TypeError, match="3 channels"):
        again(x_t=batch["x_t"][..., :2], denoised=batch["denoised"][..., :2])


def test_bounds_of_another_shape_are_refused(call):
    again, _, unet = call
    caps = unet.caps
    for wrong in (caps[:-1], caps[:, :1], torch.cat([caps, caps]), caps[0], None, caps.int()):
        with pytest.raises(TypeError, match=r"caps must be \[3, 2\]|must get"):
            again(replace(unet, caps=wrong))


def test_bounds_without_those_of_the_costs_are_refused(call, predictor, denoiser):
    again, _, unet = call
    free = Sampler(denoiser, Budget(price=1e-10), predictor=predictor).planner.rules
    with pytest.raises(TypeError, match="caps must be None"):
        again(unet, free)
    assert len(again(replace(unet, caps=None), free).widths) == 1


def test_caches_of_another_shape_are_refused(call):
    again, _, unet = call
    for name in ("maps", "unlabelled"):
        one, *others = getattr(unet, name)
        with pytest.raises(TypeError, match="what a kernel writes"):
            again(replace(unet, **{name: [one[1:], *others]}))


def test_values_out_of_range_are_refused(call):
    again, batch, unet = call
    for label in (-1, unet.no_label + 1):
        with pytest.raises(IndexError, match="labels must be 0 to num_classes"):
            again(labels=torch.full_like(batch["labels"], label))
    with pytest.raises(IndexError, match="steps below num_steps"):
        again(step=batch["num_steps"])


@pytest.mark.parametrize("off", [(8, 0), (0, -8)])
def test_structures_of_another_size_are_refused(call, monkeypatch, off):
    """As after an edit of one side alone."""
    raw = load()[0]

    def other_sizes(planning, planning_size, steps, steps_size):
        return raw.run_steps(planning, planning_size + off[0], steps, steps_size + off[1])

    again, *_ = call
    other = SimpleNamespace(run_steps=other_sizes)
    monkeypatch.setattr("nitrogen.kernels.cpu.steps.load", lambda: (other, ""))
    with pytest.raises(IndexError):
        again()
