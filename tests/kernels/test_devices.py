"""Cases, references and plain paths keep to the device of their inputs; a GPU is only pretended."""

import pytest
import torch
from pretended_card import OnCard, pretended_card
from torch import Tensor

from nitrogen.kernels.providers import EAGER
from nitrogen.kernels.reference import relative_rms
from nitrogen.kernels.registry import OPERATORS


@pytest.fixture(autouse=True)
def _card():
    with torch.no_grad(), pretended_card():
        yield


def on_card(values):
    return all(isinstance(v, OnCard) for v in values if isinstance(v, Tensor))


def small(operator, dtype=torch.float32):
    cases = operator.make_cases(dtype, "cuda")
    return [case for case in cases if not case.label.startswith("2000")][::2]  # where, not what


@pytest.mark.parametrize("name", OPERATORS)
def test_everything_stays_on_the_card(name):
    operator = OPERATORS[name]
    for case in small(operator):
        assert on_card(case.args), case.label
        expected = operator.reference(*case.args)
        args = [v.clone() if isinstance(v, Tensor) else v for v in case.args]
        got = EAGER[name](*args)
        if isinstance(got, tuple):
            assert on_card((*expected, *got))
            continue
        assert on_card((expected, got)), case.label
        assert relative_rms(got, expected) <= 2e-6


def test_the_card_is_told_from_the_processor():
    """What this file relies on: two devices meet in an error, but where torch lets them."""
    here, there = torch.ones(3), torch.ones(3, device="cuda")
    with pytest.raises(AssertionError, match="met tensors of two devices"):
        there + here
    with pytest.raises(AssertionError, match="met tensors of two devices"):
        there[:2].copy_(here[:2]).add_(torch.arange(2))
    assert on_card((there + 1, there + torch.tensor(2.0), there[torch.tensor([0, 2])]))
    assert not on_card([there.cpu()])
    assert there.tolist() == [1.0] * 3
