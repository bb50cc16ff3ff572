"""A whole run of the sampler keeps to the device of its network; a GPU is only pretended."""

from copy import deepcopy

import pytest
import torch
from pretended_card import OnCard, pretended_card

from nitrogen.kernels import providers
from nitrogen.model.policies import Budget, Threshold
from nitrogen.model.request import Request
from nitrogen.model.sampler import Sampler


def moved(module):
    """A copy of a module whose weights are on the card."""
    copy = deepcopy(module)
    for part in copy.modules():
        for name, value in part._parameters.items():
            part._parameters[name] = torch.nn.Parameter(OnCard(value.detach()), False)
        for name, value in part._buffers.items():
            part._buffers[name] = OnCard(value)
    return copy


@pytest.mark.parametrize(
    ("policy", "solver"),
    [
        (Budget(0.0211, patience=1), "dpmpp_2m"), (Threshold(0.02), "heun"),
    ],
)  # fmt: skip
def test_a_run_on_the_card_is_a_run_on_the_processor(
    policy, solver, denoiser, predictor, monkeypatch
):
    monkeypatch.setattr(providers, "has_triton", lambda _: False)  # it would start a kernel
    requests = [Request(0, 1, 3), Request(1, 2, 4, 2.0), Request(2, 3, 3, 1.0, 0.9)]
    expected = Sampler(denoiser, policy, predictor=predictor, solver_name=solver).run(requests)
    with pretended_card():
        there = Sampler(moved(denoiser), policy, predictor=moved(predictor), solver_name=solver)
        state = there.start(requests)
        assert isinstance(state.live.x, OnCard)
        while state.live.num_samples:
            state = there.step(state)
    got = sorted(state.finished, key=lambda f: f.id)
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine.x_0, theirs.x_0, atol=1e-4, rtol=0)
        assert torch.equal(mine.widths, theirs.widths)
