"""Kernels against their float64 references, and the bits of a row in any company."""

import pytest
import torch

from nitrogen.kernels.depthwise import depthwise3x3
from nitrogen.kernels.linear import FEW_ROWS, MANY_ROWS, row_linear
from nitrogen.kernels.norm import rms_norm
from nitrogen.kernels.reference import (
    depthwise3x3_reference,
    mlp_reference,
    rms_norm_reference,
)
from nitrogen.kernels.row_mlp import dense_mlp, row_mlp

CHANNELS, HIDDEN = 24, 96
SIZES = [1, 2, 63, 64, 100, 200]


def weights():
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator) / shape[-1] ** 0.5  # noqa: E731
    return draw(HIDDEN, CHANNELS), draw(HIDDEN), draw(CHANNELS, HIDDEN), draw(CHANNELS)


def relative_error(got, expected):
    return ((got.double() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("num_rows", SIZES)
@pytest.mark.parametrize("num_hidden", [24, 48, 72, 96])
def test_row_mlp_equals_reference(num_rows, num_hidden):
    rows = torch.randn(num_rows, CHANNELS)
    expected = mlp_reference(rows, *weights(), num_hidden)
    assert relative_error(row_mlp(rows, *weights(), num_hidden), expected) < 2e-6
    assert relative_error(dense_mlp(rows, *weights(), num_hidden), expected) < 2e-6


def test_unused_hidden_units_are_never_read():
    w_in, b_in, w_out, b_out = weights()
    rows, num_hidden = torch.randn(70, CHANNELS), 48
    expected = row_mlp(rows, w_in, b_in, w_out, b_out, num_hidden)
    w_in[num_hidden:], b_in[num_hidden:], w_out[:, num_hidden:] = (float("nan"),) * 3
    assert torch.equal(row_mlp(rows, w_in, b_in, w_out, b_out, num_hidden), expected)


def test_no_rows_give_no_rows():
    assert row_mlp(torch.empty(0, CHANNELS), *weights(), HIDDEN).shape == (0, CHANNELS)
    assert row_linear(torch.empty(0, CHANNELS), weights()[0]).shape == (0, HIDDEN)


@pytest.mark.parametrize("num_hidden", [24, 96])
@pytest.mark.parametrize("block", [FEW_ROWS, MANY_ROWS])
def test_bits_of_a_row_do_not_depend_on_its_company(num_hidden, block):
    rows = torch.randn(5 * MANY_ROWS + 7, CHANNELS)
    together = row_mlp(rows, *weights(), num_hidden, block)
    order = torch.randperm(len(rows))
    assert torch.equal(row_mlp(rows[order], *weights(), num_hidden, block), together[order])
    for index in (0, 1, 63, 64, len(rows) - 1):
        alone = row_mlp(rows[index : index + 1], *weights(), num_hidden, block)
        assert torch.equal(alone[0], together[index])


def test_gradients_equal_those_of_the_dense_path():
    rows = torch.randn(100, CHANNELS, dtype=torch.float64, requires_grad=True)
    parameters = [w.double().requires_grad_() for w in weights()]
    got = torch.autograd.grad(row_mlp(rows, *parameters, 48).square().sum(), [rows, *parameters])
    expected = torch.autograd.grad(
        dense_mlp(rows, *parameters, 48).square().sum(), [rows, *parameters]
    )
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_norm_and_depthwise_equal_references():
    x = torch.randn(2, 5, 7, CHANNELS)
    weight = torch.randn(CHANNELS, 1, 3, 3)
    assert relative_error(rms_norm(x), rms_norm_reference(x)) < 1e-6
    assert relative_error(depthwise3x3(x, weight), depthwise3x3_reference(x, weight)) < 1e-6
