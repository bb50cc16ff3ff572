"""Offsets beyond 32 bits and samples that stand twice in a batch, for every operator over rows."""

import pytest
import torch

from nitrogen.kernels import reference
from nitrogen.kernels.providers import triton_kernel
from nitrogen.kernels.registry import OPERATORS

STRIDE = 2**30  # elements: the third row starts at element 2^31
WITH_ROWS = (
    "norm_modulate", "depthwise", "row_mlp", "row_linear", "row_qkv", "row_attention", "gated_add",
)  # fmt: skip
C = 16


def arguments(name, draw, plan, b, side=(1, 1)):
    """Of b samples of a map; maps as [m, c], whatever the operator takes."""
    m, per_sample = b * side[0] * side[1], side[0] * side[1]
    if name == "gated_add":
        return draw(m, C), draw(b, C), draw(m, C), per_sample
    if name == "norm_modulate":
        return draw(m, C), draw(b, C), draw(b, C), *plan, per_sample
    if name == "depthwise":
        return draw(m, C), draw(C, 1, 3, 3), draw(b, C), draw(b, C), *plan
    if name == "row_mlp":
        weights = draw(64, C, weight=True), draw(64), draw(C, 64, weight=True), draw(C)
        return draw(m, C), *weights, *plan, 16, draw(m, C)
    if name == "row_linear":
        return draw(m, C), draw(24, C, weight=True), None, *plan, draw(m, 24)
    if name == "row_qkv":
        weight = draw(3 * C, C, weight=True)
        return draw(m, C), draw(b, C), draw(b, C), weight, *plan, per_sample, draw(m, 3 * C)
    return draw(m, 3 * C), *plan, 1


def run(name, kernel, args, b, side):
    """The result of a kernel, or the buffer that it wrote; a reference returns it."""
    args, x = list(args), args[0]
    if name in ("depthwise", "row_attention"):
        strides = (side[0] * side[1] * x.stride(0), side[1] * x.stride(0), *x.stride())
        args[0] = x.as_strided((b, *side, x.shape[1]), strides)
    result = kernel(*args)
    return args[-1] if result is None else result


def far(x):
    """x [n, c] with its rows 2^30 elements apart. Untouched pages cost nothing."""
    spread = torch.empty_strided(x.shape, (STRIDE, 1), dtype=x.dtype)
    return spread.copy_(x)


@pytest.mark.parametrize("name", WITH_ROWS)
def test_offsets_beyond_32_bits(name, dtype, draw, row_set, check):
    """Every map, modulation and buffer, three samples of one row."""
    if dtype == torch.float32:
        pytest.skip("takes twice the address space and shows the same")
    b, plan = 3, row_set(torch.full((3,), 4))
    args = arguments(name, draw, plan, b)
    expected = run(name, OPERATORS[name].reference, args, b, (1, 1))
    spread = [
        far(v) if isinstance(v, torch.Tensor) and v.is_floating_point() and len(v) == b else v
        for v in args
    ]
    assert spread[0].stride(0) == STRIDE
    check(run(name, triton_kernel(name), spread, b, (1, 1)), expected)


@pytest.mark.parametrize("name", WITH_ROWS)
def test_a_sample_twice_in_a_batch_comes_out_twice_the_same(name, draw, row_set, placeless):
    b, side = 4, (3, 7)
    half = b * side[0] * side[1] // 2
    quarters = torch.randint(0, 5, (half,)).repeat(2)
    args = [
        v[: len(v) // 2].repeat(2, 1) if isinstance(v, torch.Tensor) and len(v) in (b, 2 * half) and
        v.is_floating_point() else v
        for v in arguments(name, draw, row_set(quarters), b, side)
    ]  # fmt: skip
    got = run(name, triton_kernel(name), args, b, side)
    active = quarters[:half] > 0 if name != "gated_add" else torch.ones(half, dtype=torch.bool)
    assert torch.equal(got[:half][active], got[half:][active])
    assert not torch.equal(got[: half // 2][active[: half // 2]].sum(), got[:half][active].sum())


def test_two_thousand_rows_of_duplicated_samples(draw, row_set, placeless):
    half, plan = 1000, torch.randint(0, 5, (1000,))
    x, *rest, out = arguments("row_mlp", draw, row_set(plan.repeat(2)), 2, (1, half))
    x, out = x[:half].repeat(2, 1), torch.zeros_like(out)
    triton_kernel("row_mlp")(x, *rest, out)
    assert torch.equal(out[:half], out[half:])
    alone = (x[:half], *rest[:4], *row_set(plan), rest[-1], torch.zeros(half, C))
    expected = reference.row_mlp_reference(*alone)
    assert reference.relative_rms(out[:half], expected) < reference.TOLERANCES[x.dtype]
