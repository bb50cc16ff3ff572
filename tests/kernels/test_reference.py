"""The references themselves, against torch's own operators and the model's solver in float64."""

import pytest
import torch
from torch.nn import functional as F

from nitrogen.kernels import reference
from nitrogen.kernels.attention import pool_keys
from nitrogen.model.regions import Plan
from nitrogen.model.solvers import dpmpp_2m, new_history

B, H, W, C = 2, 4, 6, 8


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def mixed_rows():
    """A row set with every width, held rows last."""
    quarters = torch.arange(B * H * W) % 5
    order = torch.cat([(quarters == q).nonzero().squeeze(1) for q in (1, 2, 3, 4, 0)])
    return order, torch.bincount(quarters, minlength=5)


def test_plan_rows_sorts_as_the_model_groups_them():
    widths, caps = torch.randint(0, 5, (3, 2, 3)), torch.tensor([4, 2, 0])
    rows, counts = reference.plan_rows_reference(widths, caps, H, W)
    planned = Plan(widths, caps[:, None]).at_level(0, H, W)
    assert torch.equal(rows, planned.rows)
    assert torch.equal(counts, planned.counts)
    assert counts.sum() == 3 * H * W
    assert torch.equal(rows.sort().values, torch.arange(3 * H * W))


def test_what_is_not_active_is_undefined():
    rows, counts = mixed_rows()
    out = reference.norm_modulate_reference(
        draw(B * H * W, C), draw(B, C), draw(B, C), rows, counts, H * W
    )
    held = rows[counts[1:].sum() :]
    assert out[held].isnan().all()
    assert not reference.active_rows(out, counts).isnan().all()


def test_depthwise_and_row_mlp_equal_torch():
    rows, counts = mixed_rows()
    x, weight, shift, scale = draw(B, H, W, C), draw(C, 1, 3, 3), draw(B, C), draw(B, C)
    normed = F.rms_norm(x, (C,), eps=1e-6).permute(0, 3, 1, 2)
    mixed = F.conv2d(normed, weight, padding=1, groups=C).permute(0, 2, 3, 1)
    mixed = (mixed * (1 + scale[:, None, None]) + shift[:, None, None]).reshape(-1, C)
    got = reference.depthwise_reference(x, weight, shift, scale, rows, counts)
    active = reference.active_rows(rows, counts)
    torch.testing.assert_close(got[active], mixed[active])

    weights = (draw(16, C), draw(16), draw(C, 16), draw(C))
    got = reference.row_mlp_reference(mixed, *weights, rows, counts, 4, torch.zeros_like(mixed))
    start = 0
    for q in range(1, 5):
        group = rows[start : start + counts[q]]
        hidden = F.gelu(F.linear(mixed[group], weights[0][: 4 * q], weights[1][: 4 * q]))
        expected = F.linear(hidden, weights[2][:, : 4 * q], weights[3])
        torch.testing.assert_close(got[group], expected)
        start += counts[q]
    assert (got[rows[start:]] == 0).all()


@pytest.mark.parametrize("size", [(4, 6), (19, 33)])
def test_attention_equals_torch(size):
    b, heads, c = 2, 2, 16
    qkv = draw(b, *size, 3 * c)
    m = b * size[0] * size[1]
    counts = torch.tensor([0, 0, 0, 0, m])
    split = lambda x: x.reshape(b, -1, heads, c // heads).transpose(1, 2)  # noqa: E731
    q, k, v = qkv.chunk(3, dim=-1)
    norm = lambda x: F.rms_norm(x, (c // heads,), eps=1e-6)  # noqa: E731
    attended = F.scaled_dot_product_attention(
        norm(split(q)), norm(split(pool_keys(k))), split(pool_keys(v))
    )
    got = reference.row_attention_reference(qkv, torch.arange(m), counts, heads)
    torch.testing.assert_close(got, attended.transpose(1, 2).reshape(m, c))


def test_ode_exit_equals_the_solver_and_slides_where_held():
    x, d, last = draw(4, 4, 4, 3), draw(4, 4, 4, 3), draw(4, 4, 4, 3)
    sigma = torch.tensor([9.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    sigma_next = torch.tensor([5.0, 1.0, 0.0, 2.0], dtype=torch.float64)
    sigma_last = torch.tensor([20.0, 4.0, 0.9, float("nan")], dtype=torch.float64)
    history = new_history(torch.zeros_like(x)).push(last, x, sigma_last)
    expected, _ = dpmpp_2m(x, d, sigma, sigma_next, history)
    held = torch.zeros(4, 2, 2, dtype=torch.bool)
    args = (x, d, last, sigma, sigma_next, sigma_last)
    torch.testing.assert_close(reference.ode_exit_reference(*args, held), expected)
    held[0, 1, 0] = True
    slid = d[0] + (5.0 / 9.0) * (x[0] - d[0])
    got = reference.ode_exit_reference(*args, held)
    torch.testing.assert_close(got[0, 2:, :2], slid[2:, :2])
    torch.testing.assert_close(got[0, :2], expected[0, :2])


def test_region_stats_and_gated_add():
    d, last = draw(2, 4, 6, 3), draw(2, 4, 6, 3)
    got = reference.region_stats_reference(d, last, 2, 3)
    patch = d[1, 2:4, 4:6]
    torch.testing.assert_close(got[1, 1, 2, :3], patch.mean(dim=(0, 1)))
    torch.testing.assert_close(got[1, 1, 2, 3], patch.square().mean())
    torch.testing.assert_close(got[1, 1, 2, 4], (patch - last[1, 2:4, 4:6]).square().mean())
    gate = draw(2, 3)
    got = reference.gated_add_reference(d.view(-1, 3), gate, last.view(-1, 3), 24)
    torch.testing.assert_close(got.view_as(d), d + gate[:, None, None] * last)


def test_relative_rms_ignores_what_is_undefined():
    nan = float("nan")
    got, expected = torch.tensor([1.1, 5.0, nan]), torch.tensor([1.0, nan, nan]).double()
    assert reference.relative_rms(got, expected) == pytest.approx(0.1, rel=1e-5)
    assert reference.relative_rms(torch.tensor([nan]), torch.ones(1).double()) != 0
