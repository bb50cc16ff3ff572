"""row_mlp, row_linear and row_qkv in the interpreter, against float64 and against themselves."""

import pytest
import torch

from nitrogen.kernels import reference
from nitrogen.kernels.gpu.row_linear import row_linear
from nitrogen.kernels.gpu.row_mlp import row_mlp
from nitrogen.kernels.gpu.row_qkv import row_qkv

NAN = float("nan")
WIDE = 256 + 16  # two launches


def mlp_weights(draw, c, per_quarter):
    e = 4 * per_quarter
    return draw(e, c, weight=True), draw(e), draw(c, e, weight=True), draw(c)


def quarters_of(kind, num_rows):
    if kind == "mixed":
        return torch.randint(0, 5, (num_rows,))
    return torch.full((num_rows,), {"held": 0, "narrow": 1, "full": 4}[kind])


@pytest.mark.parametrize(
    ("num_rows", "c", "kind"),
    [
        (1, 24, "narrow"),
        (63, 16, "full"),
        (100, 40, "mixed"),
        (100, 24, "held"),
        (70, WIDE, "mixed"),
    ],
)
def test_row_mlp(num_rows, c, kind, draw, row_set, check):
    rows, counts = row_set(quarters_of(kind, num_rows))
    x, weights, residual = draw(num_rows, c), mlp_weights(draw, c, 20), draw(num_rows, c)
    before = residual.clone()
    expected = reference.row_mlp_reference(x, *weights, rows, counts, 20, residual)
    row_mlp(x, *weights, rows, counts, 20, residual)
    check(residual, expected)
    held = rows[counts[1:].sum() :]
    assert torch.equal(residual[held], before[held])


@pytest.mark.parametrize("c", [32, WIDE])
def test_hidden_units_beyond_the_width_are_never_read(c, draw, row_set):
    rows, counts = row_set(torch.full((70,), 2))
    x, (w_in, b_in, w_out, b_out) = draw(70, c), mlp_weights(draw, c, 20)
    expected, got = draw(70, c), draw(70, c)
    row_mlp(x, w_in, b_in, w_out, b_out, rows, counts, 20, expected)
    w_in[40:], b_in[40:], w_out[:, 40:] = NAN, NAN, NAN
    row_mlp(x, w_in, b_in, w_out, b_out, rows, counts, 20, got)
    assert torch.equal(got, expected)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("num_rows", [1, 100])
def test_row_linear(num_rows, bias, draw, row_set, check):
    rows, counts = row_set(quarters_of("mixed", num_rows))
    x, weight, out = draw(num_rows, 48), draw(150, 48, weight=True), draw(num_rows, 150)
    layer = (weight, draw(150) if bias else None)
    expected = reference.row_linear_reference(x, *layer, rows, counts, out)
    row_linear(x, *layer, rows, counts, out)
    check(out, expected)


@pytest.mark.parametrize("per_sample", [63, 25])
def test_row_qkv_modulates_each_row_by_its_sample(per_sample, draw, row_set, check):
    b, c = 3, 80
    rows, counts = row_set(quarters_of("mixed", b * per_sample))
    shift, scale = draw(b, 3 * c)[:, :c], draw(b, 3 * c)[:, c : 2 * c]  # views, as the model's
    x, weight, qkv = (
        draw(b * per_sample, c),
        draw(3 * c, c, weight=True),
        draw(b * per_sample, 3 * c),
    )
    args = (x, shift, scale, weight, rows, counts, per_sample)
    expected = reference.row_qkv_reference(*args, qkv)
    row_qkv(*args, qkv)
    check(qkv, expected)


@pytest.mark.parametrize("c", [24, WIDE])
def test_bits_of_a_row_do_not_depend_on_its_company(c, draw, row_set, placeless):
    num_rows = 150
    quarters = quarters_of("mixed", num_rows)
    x, weights, weight = draw(num_rows, c), mlp_weights(draw, c, 20), draw(30, c, weight=True)

    def run(wanted):
        out, linear = torch.zeros(num_rows, c).to(x), torch.zeros(num_rows, 30).to(x)
        row_mlp(x, *weights, *row_set(wanted), 20, out)
        row_linear(x, weight, None, *row_set(wanted), linear)
        return out, linear

    together = run(quarters)
    fewer = torch.where(torch.rand(num_rows) < 0.5, quarters, 0)
    alone = [torch.where(torch.arange(num_rows) == i, quarters, 0) for i in (64, num_rows - 1)]
    for wanted in (fewer, *alone):
        active = wanted > 0
        for got, expected in zip(run(wanted), together, strict=True):
            assert torch.equal(got[active], expected[active])


def test_products_are_in_the_precision_of_the_weights(draw, row_set, check):
    """What autocast asks for: rows and results stay in float32."""
    rows, counts = row_set(quarters_of("mixed", 100))
    x, shift = torch.randn(100, 48), torch.randn(4, 48)
    layer = draw(144, 48, weight=True), draw(144)
    for c in (48, WIDE):
        wide, weights = torch.randn(100, c), mlp_weights(draw, c, 20)
        got = torch.zeros(100, c)
        expected = reference.row_mlp_reference(wide, *weights, rows, counts, 20, got.clone())
        row_mlp(wide, *weights, rows, counts, 20, got)
        check(got, expected)
    out = torch.zeros(100, 144)
    expected = reference.row_linear_reference(x, *layer, rows, counts, out.clone())
    row_linear(x, *layer, rows, counts, out)
    check(out, expected)
    qkv = torch.zeros(100, 144)
    args = (x, shift, shift, layer[0], rows, counts, 25)
    expected = reference.row_qkv_reference(*args, qkv.clone())
    row_qkv(*args, qkv)
    check(qkv, expected)
    assert got.dtype == out.dtype == qkv.dtype == torch.float32


def test_a_target_that_would_be_copied_is_refused(draw, row_set):
    x, out = draw(4, 16), draw(16, 4).t()
    with pytest.raises(ValueError, match="out must be"):
        row_linear(x, draw(16, 16), None, *row_set(torch.full((4,), 4)), out)
