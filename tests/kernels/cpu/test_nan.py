"""Not a number in, not a number out: whatever a product or a maximum would make of it."""

import pytest
import torch

from nitrogen.kernels.cpu import fused, library
from nitrogen.kernels.cpu.ops import CPU
from nitrogen.kernels.registry import OPERATORS

pytestmark = pytest.mark.skipif(not library.cpu_available(), reason="no compiler, no AVX2")
NAN = float("nan")


def cases():
    for name, operator in OPERATORS.items():
        made = list(operator.make_cases(torch.float32, "cpu"))
        case = next((c for c in made if c.label.startswith("63") and "mixed" in c.label), made[-1])
        for index, value in enumerate(case.args[: -1 if operator.writes else None]):
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                yield pytest.param(operator, case.args, index, id=f"{name}-{index}")


@pytest.mark.parametrize(("operator", "arguments", "index"), list(cases()))
@torch.no_grad()
def test_nan_spreads_as_in_the_reference(operator, arguments, index):
    args = [v.clone() if isinstance(v, torch.Tensor) else v for v in arguments]
    where, spoiled = slice(None), args[index]
    at = [i for i, v in enumerate(args) if isinstance(v, torch.Tensor) and v.dtype == torch.int64]
    if at:  # what is not active is undefined, or the buffer's
        where = args[at[0]][: int(args[at[1]][1:].sum())]
    # In a row that is computed; of the depthwise weights the middle tap, which every row has.
    place = (
        spoiled[:, 0, 1, 1] if spoiled.shape[1:] == (1, 3, 3) else spoiled.view(len(spoiled), -1)
    )
    if index == 0 and at:
        spoiled.view(-1, spoiled.shape[-1])[where[0], -1] = NAN
    else:
        place[0] = NAN
    expected = operator.reference(*args)
    returned = CPU[operator.name](*args)
    got = args[-1] if operator.writes else returned
    assert torch.equal(got[where].isnan(), expected[where].isnan())
    if operator.name not in ("ode_exit", "row_mlp"):  # there it may stand where nobody reads it
        assert got[where].isnan().any()


@pytest.mark.parametrize("name", ["row_attention", "attention_block"])
@torch.no_grad()
def test_attention_hides_none_in_its_softmax(name):
    """A query of NaN, alone in its row: only `exp` sees it, and must not make a number of it."""
    b, side, c = 1, 4, 32
    rows, counts = torch.arange(16), torch.tensor([0, 0, 0, 0, 16])
    if name == "row_attention":
        qkv = torch.randn(b, side, side, 3 * c)
        qkv[0, 1, 2, 0] = NAN
        got = CPU[name](qkv, rows, counts, 2)
        assert got[6, :16].isnan().all()
        assert not got[6, 16:].isnan().any()
        assert not got[:6].isnan().any()
    else:
        x, parts = torch.randn(b, side, side, c), torch.ones(b, 3 * c)
        x[0, 1, 2, 0] = NAN
        weights = (torch.randn(3 * c, c), torch.randn(c, c))
        buffers = (torch.zeros_like(x), torch.zeros(b, side, side, 3 * c))
        out = fused.attention_block(x, parts, *weights, 2, rows, counts, *buffers)
        assert out.isnan().all()  # its key reaches every query


@torch.no_grad()
def test_the_predictor_and_the_conditioning_hide_none():
    wide = torch.randn(8, 14), torch.zeros(8)
    layers = (wide, *((torch.randn(n, 8), torch.zeros(n)) for n in (8, 1, 4)))
    features = torch.randn(2, 1, 2, 3)
    features[1, 0, 1, 0] = NAN
    labels, classes = torch.tensor([0, 1]), torch.randn(2, 8)
    got = fused.predict(features, labels, classes, layers, (-18.0, 4.0))
    assert got[1].isnan().all()
    assert not got[0].isnan().any()
    for infinity in (float("inf"), -float("inf")):
        bias = torch.zeros(4)
        bias[1] = infinity
        got = fused.predict(
            features, labels, classes, (*layers[:3], (layers[3][0], bias)), (-18.0, 4.0)
        )
        assert got[0, ..., 2].isnan().all(), "an infinity that is bounded looks like a prediction"
        assert not got[0, ..., [0, 1, 3, 4]].isnan().any()
    modulations = fused.conditioning(
        torch.tensor([0.3, NAN]), labels, None, torch.rand(4), classes,
        ((torch.randn(8, 8), torch.zeros(8)), None, (torch.randn(8, 8), torch.zeros(8)),
         (torch.randn(6, 8), torch.zeros(6))),
    )  # fmt: skip
    assert modulations[1].isnan().all()
    assert not modulations[0].isnan().any()
