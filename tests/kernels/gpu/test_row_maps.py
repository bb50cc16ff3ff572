"""norm_modulate, depthwise, gated_add and row_attention in the interpreter, against float64."""

import pytest
import torch
from torch.nn import functional as F

from nitrogen.kernels import reference
from nitrogen.kernels.gpu.depthwise import depthwise
from nitrogen.kernels.gpu.gated_add import gated_add
from nitrogen.kernels.gpu.launch import Config, scope
from nitrogen.kernels.gpu.norm_modulate import norm_modulate
from nitrogen.kernels.gpu.row_attention import row_attention


@pytest.mark.parametrize(("b", "per_sample", "c"), [(1, 1, 24), (3, 21, 64), (4, 25, 100)])
def test_norm_modulate_and_gated_add(b, per_sample, c, draw, row_set, check):
    m = b * per_sample
    rows, counts = row_set(torch.randint(0, 5, (m,)))
    x, shift, scale, gate = draw(m, c), *draw(b, 3 * c).chunk(3, dim=1)
    args = (x, shift, scale, rows, counts, per_sample)
    check(norm_modulate(*args), reference.norm_modulate_reference(*args))
    args = (x, gate, draw(m, c), per_sample)
    check(gated_add(*args), reference.gated_add_reference(*args))


def test_two_thousand_rows(draw, row_set, check):
    rows, counts = row_set(torch.randint(0, 5, (2000,)))
    args = (draw(2000, 32), draw(2, 32), draw(2, 32), rows, counts, 1000)
    check(norm_modulate(*args), reference.norm_modulate_reference(*args))


@pytest.mark.parametrize("shape", [(1, 1, 1, 24), (2, 7, 9, 24), (3, 4, 5, 64)])
def test_depthwise(shape, draw, row_set, check):
    b, height, width, c = shape
    rows, counts = row_set(torch.randint(0, 5, (b * height * width,)))
    args = (draw(*shape), draw(c, 1, 3, 3), draw(b, c), draw(b, c), rows, counts)
    check(depthwise(*args), reference.depthwise_reference(*args))


def test_depthwise_of_a_volume_only_changes_two_bounds(draw, row_set, check):
    b, depth, height, width, c = 2, 3, 4, 5, 16
    rows, counts = row_set(torch.full((b * depth * height * width,), 4))
    x, weight, shift, scale = draw(b, depth, height, width, c), draw(c, 1, 3, 3, 3), *draw(2, b, c)
    normed = reference.rms_norm_reference(x).permute(0, 4, 1, 2, 3)
    mixed = F.conv3d(normed, weight.double(), padding=1, groups=c).permute(0, 2, 3, 4, 1)
    mixed = mixed * (1 + scale.double()[:, None, None, None]) + shift.double()[:, None, None, None]
    check(depthwise(x, weight, shift, scale, rows, counts), mixed.reshape(-1, c))


@pytest.mark.parametrize(
    ("shape", "heads", "per_head"), [((3, 3, 3), 2, 32), ((1, 2, 17), 1, 24), ((1, 1, 1), 1, 16)]
)
def test_row_attention(shape, heads, per_head, draw, row_set, check):
    b, height, width = shape
    rows, counts = row_set(torch.randint(0, 5, (b * height * width,)))
    qkv = draw(*shape, 3 * heads * per_head)
    expected = reference.row_attention_reference(qkv, rows, counts, heads)
    check(row_attention(qkv, rows, counts, heads), expected)


def test_row_attention_over_several_blocks_of_keys(draw, row_set, check):
    shape, heads, per_head = (2, 7, 9), 2, 16  # 63 keys: four blocks, the last one short
    rows, counts = row_set(torch.randint(0, 5, (2 * 63,)))
    qkv = 4 * draw(*shape, 3 * heads * per_head)  # so that the largest score moves along the keys
    small = Config({"BLOCK_M": 16, "BLOCK_T": 16}, num_warps=4)
    with scope(configs={"row_attention": small}):
        got = row_attention(qkv, rows, counts, heads)
    check(got, reference.row_attention_reference(qkv, rows, counts, heads))


def test_nothing_active_writes_nothing(draw, row_set):
    rows, counts = row_set(torch.zeros(2 * 20, dtype=torch.int64))
    x, shift = draw(2, 4, 5, 16), draw(2, 16)
    assert row_attention(draw(2, 4, 5, 48), rows, counts, 1).isnan().all()
    assert depthwise(x, draw(16, 1, 3, 3), shift, shift, rows, counts).isnan().all()
    assert norm_modulate(x.view(-1, 16), shift, shift, rows, counts, 20).isnan().all()


def test_bits_of_a_sample_do_not_depend_on_the_batch(draw, row_set, placeless):
    b, side, c = 2, 3, 32
    x, qkv, weight = draw(b, side, side, c), draw(b, side, side, 3 * c), draw(c, 1, 3, 3)
    shift, scale = draw(b, c), draw(b, c)
    quarters = torch.randint(0, 5, (b, side * side))
    plan = row_set(quarters.flatten())
    together = depthwise(x, weight, shift, scale, *plan), row_attention(qkv, *plan, 2)
    for i in range(b):
        one, plan = slice(i, i + 1), row_set(quarters[i])
        alone = (
            depthwise(x[one], weight, shift[one], scale[one], *plan),
            row_attention(qkv[one], *plan, 2),
        )
        for got, expected in zip(alone, together, strict=True):
            mine = expected.view(b, side * side, c)[i]
            assert torch.equal(got[quarters[i] > 0], mine[quarters[i] > 0])


def test_infinities_of_one_sample_stay_in_it(draw, row_set, placeless):
    qkv, plan = draw(2, 3, 3, 48), row_set(torch.full((18,), 4))
    expected = row_attention(qkv, *plan, 1)[:9]
    qkv[1] = float("inf")
    assert torch.equal(row_attention(qkv, *plan, 1)[:9], expected)
