"""Offsets beyond 32 bits in C++: rows far down a map, and modulations far apart."""

import pytest
import torch

from nitrogen.kernels.cpu import library
from nitrogen.kernels.cpu.ops import CPU
from nitrogen.kernels.reference import TOLERANCES, relative_rms
from nitrogen.kernels.registry import OPERATORS

pytestmark = pytest.mark.skipif(not library.cpu_available(), reason="no compiler, no AVX2")
C, STRIDE = 16, 2**30


def tall(ends, num_rows):
    """[num_rows, features] with `ends` [2, features] as first and last row. Untouched pages cost
    nothing, but a machine with less memory than that may refuse them."""
    try:
        made = torch.empty(num_rows, ends.shape[1])
    except RuntimeError:
        pytest.skip(f"no address space for {4 * num_rows * ends.shape[1] / 2**30:.0f} GiB")
    made[0], made[-1] = ends
    return made


def ends(b):
    """The first and the last row of b at full width."""
    return torch.tensor([0, b - 1]), torch.tensor([0, 0, 0, 0, 2])


def draw(*shape):
    return torch.randn(*shape)


def layer(e, c):
    return draw(e, c) / c**0.5


CASES = {  # arguments of two samples of one row, and which of them are maps
    "norm_modulate": (lambda: (draw(2, C), draw(2, C), draw(2, C), *ends(2), 1), (0,)),
    "row_mlp": (
        lambda: (draw(2, C), layer(64, C), draw(64), layer(C, 64), draw(C), *ends(2), 16,
                 torch.zeros(2, C)),
        (0, 8),
    ),
    "row_linear": (lambda: (draw(2, C), layer(C, C), draw(C), *ends(2), torch.zeros(2, C)), (0, 5)),
    "row_qkv": (
        lambda: (draw(2, C), draw(2, C), draw(2, C), layer(3 * C, C), *ends(2), 1,
                 torch.zeros(2, 3 * C)),
        (0, 7),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_a_row_beyond_element_2_31(name):
    make, maps = CASES[name]
    args = make()
    expected = OPERATORS[name].reference(*args)
    last = 2**31 // max(args[i].shape[1] for i in maps)  # it starts at element 2^31 of the widest
    far = [tall(v, last + 1) if i in maps else v for i, v in enumerate(args)]
    at = next(
        i for i, v in enumerate(args) if isinstance(v, torch.Tensor) and v.dtype == torch.int64
    )
    far[at] = ends(last + 1)[0]
    if name in ("norm_modulate", "row_qkv"):
        far[at + 2] = last  # rows a sample: the last row is the second's
    result = CPU[name](*far)
    got = (far[-1] if result is None else result)[[0, last]]
    assert relative_rms(got, expected) <= TOLERANCES[torch.float32]


@torch.no_grad()
def test_attention_in_a_sample_beyond_element_2_31():
    """Two positions each, so that scores matter; nothing of the samples between is read."""
    c, plan = 2**12, (torch.arange(4), torch.tensor([0, 0, 0, 0, 4]))
    qkv = draw(2, 1, 2, 3 * c)
    expected = OPERATORS["row_attention"].reference(qkv, *plan, 2)
    last = -(-(2**31) // (6 * c))
    far = tall(qkv.view(2, -1), last + 1).view(-1, 1, 2, 3 * c)
    rows = torch.tensor([0, 1, 2 * last, 2 * last + 1])
    got = CPU["row_attention"](far, rows, plan[1], 2)[rows]
    assert relative_rms(got, expected) <= TOLERANCES[torch.float32]


@pytest.mark.slow  # it reads every row of 8 GiB
@torch.no_grad()
def test_depthwise_at_a_row_beyond_element_2_31():
    """The norm reads every row; those between are zero, and their pages all one."""
    c, counts = 2**16, torch.tensor([0, 0, 0, 0, 2])
    x, taps, shift, scale = draw(2, c), draw(c, 1, 3, 3), draw(1, c), draw(1, c)
    near = torch.zeros(1, 4, 1, c)
    near[0, [0, 3], 0] = x
    rows = torch.tensor([0, 3])
    expected = OPERATORS["depthwise"].reference(near, taps, shift, scale, rows, counts)[rows]
    last = 2**31 // c
    far, rows = tall(x, last + 1).view(1, -1, 1, c), torch.tensor([0, last])
    got = CPU["depthwise"](far, taps, shift, scale, rows, counts)[rows]
    assert relative_rms(got, expected) <= TOLERANCES[torch.float32]


@pytest.mark.parametrize(("name", "maps"), [("gated_add", (1,)), ("depthwise", (2, 3))])
@torch.no_grad()
def test_modulations_far_apart(name, maps):
    """Of three samples, the last beyond element 2^31 of where the first stands."""
    plan = torch.arange(12), torch.tensor([0, 0, 0, 0, 12])
    args = {
        "gated_add": (draw(12, C), draw(3, C), draw(12, C), 4),
        "depthwise": (draw(3, 2, 2, C), draw(C, 1, 3, 3), draw(3, C), draw(3, C), *plan),
    }[name]
    expected = OPERATORS[name].reference(*args)
    far = [
        torch.empty_strided(v.shape, (STRIDE, 1)).copy_(v) if i in maps else v
        for i, v in enumerate(args)
    ]
    assert relative_rms(CPU[name](*far), expected) <= TOLERANCES[torch.float32]
