"""The dense operators that a GPU's measurement compares with: right, and without moving rows."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nitrogen.kernels.counts import COUNTS, Shape
from nitrogen.kernels.gpu.calls import WRITES, arguments
from nitrogen.kernels.gpu.dense import DENSE
from nitrogen.kernels.providers import EAGER
from nitrogen.kernels.reference import REFERENCES, TOLERANCES, relative_rms

SHAPES = (Shape("", b=2, side=8, channels=16), Shape("", b=3, side=24, channels=128))
MOVES_ROWS = ("index", "gather", "scatter", "take", "sort", "nonzero", "repeat_interleave")


class Called(TorchDispatchMode):
    """The names of the operators of torch that ran."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))


def drawn(op, shape, dtype):
    """Arguments over all rows at full width; nothing is held, poison where it would be written."""
    args = list(arguments(replace(shape, op=op), dtype, "cpu"))
    if op == "ode_exit":
        args[-1] = torch.zeros_like(args[-1])
    if op in WRITES:
        args[-1] = torch.full_like(args[-1], float("nan"))
    return args


def test_a_dense_form_is_one_of_an_operator_that_is_measured():
    assert set(DENSE) <= set(COUNTS) <= set(REFERENCES)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES, ids=["small", "pooled keys"])
@pytest.mark.parametrize("op", DENSE)
def test_equals_the_reference_over_all_rows_at_full_width(op, shape, dtype):
    args = drawn(op, shape, dtype)
    got, expected = DENSE[op](*args), REFERENCES[op](*args)
    assert got.shape == expected.shape
    assert expected.isfinite().all(), "every row is computed"
    assert relative_rms(got, expected) <= TOLERANCES[dtype]


@pytest.mark.parametrize("op", DENSE)
def test_moves_no_row(op):
    assert not moved(DENSE[op], op)


@pytest.mark.parametrize("op", ["row_mlp", "row_linear"])
def test_a_moved_row_would_be_seen(op):
    assert moved(EAGER[op], op)


def moved(operator, op):
    """Which of torch's operators moved rows about."""
    args = drawn(op, SHAPES[1], torch.float32)
    with Called() as called:
        operator(*args)
    assert called.names
    return [name for name in called.names if name.startswith(MOVES_ROWS)]
