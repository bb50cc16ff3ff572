"""Products of rows under autocast on a GPU; it is only pretended, or marked `gpu`."""

import pytest
import torch
from pretended_card import OnCard

from nitrogen.kernels import autocast, dispatch
from nitrogen.kernels.plan import every_row
from nitrogen.kernels.reference import TOLERANCES, relative_rms


@pytest.fixture
def asked(monkeypatch):
    """Autocast to bf16 as a GPU has it; torch refuses the context where there is none."""
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: kind == "cuda")
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda kind: torch.bfloat16)


def on_card():
    return OnCard(torch.randn(4, 3))


@torch.no_grad()
def test_a_weight_is_copied_once_for_each_of_its_values(asked):
    weight = on_card()
    first = autocast.lowered(weight)
    assert first.dtype == torch.bfloat16
    assert autocast.lowered(weight) is first
    weight.values.mul_(2)
    weight += 0
    assert torch.equal(autocast.lowered(weight).values, weight.values.bfloat16())


def test_what_is_left_as_it_is(asked, monkeypatch):
    here, whole = torch.randn(4, 3), torch.arange(3)
    assert autocast.lowered(here) is here  # a processor's
    assert autocast.lowered(OnCard(whole)).dtype == torch.int64
    assert autocast.lowered(trained := on_card().requires_grad_()) is trained
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: False)
    weight = on_card()
    assert autocast.lowered(weight) is weight
    assert autocast.lowered_map(weight) is weight


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@torch.no_grad()
def test_on_a_card_products_are_in_bf16_and_results_in_float32():
    x, weight = torch.randn(200, 64, device="cuda"), torch.randn(96, 64, device="cuda") / 8
    expected = x.double() @ weight.double().t()
    rows = every_row(200, x.device)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cuda", dtype=dtype):
            got = dispatch.row_linear(x, weight, None, rows, torch.empty(200, 96, device="cuda"))
        assert got.dtype == torch.float32
        error = relative_rms(got, expected)
        assert TOLERANCES[torch.float32] < error <= TOLERANCES[dtype]
    plain = dispatch.row_linear(x, weight, None, rows, torch.empty(200, 96, device="cuda"))
    assert relative_rms(plain, expected) <= TOLERANCES[torch.float32]
