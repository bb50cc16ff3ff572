"""A block as one call equals the same block operator by operator, bit for bit."""

import pytest
import torch

from nitrogen.kernels import blocks
from nitrogen.kernels.cpu.library import cpu_available
from nitrogen.kernels.dispatch import plan_rows

pytestmark = pytest.mark.skipif(not cpu_available(), reason="no compiler, no AVX2")


@pytest.fixture
def both(monkeypatch):
    def run(block, *args, buffers):
        fused = block(*args, *(b.clone() for b in buffers))
        with monkeypatch.context() as patch:
            patch.setattr(blocks, "one_call", lambda *_: False)
            return fused, block(*args, *(b.clone() for b in buffers))

    return run


def inputs(channels):
    """x, modulation as a slice of a wider tensor, a mixed row set."""
    widths = torch.randint(0, 5, (3, 4, 2))
    parts = torch.randn(3, 3 * channels + 8)[:, 4:-4]
    rows = plan_rows(widths, torch.full((3,), 4), 8, 6)
    return torch.randn(3, 8, 6, channels), parts, rows


@pytest.mark.parametrize("channels", [20, 64])
@torch.no_grad()
def test_mlp_block(both, channels):
    x, parts, rows = inputs(channels)
    hidden = 4 * channels
    weights = (
        torch.randn(hidden, channels), torch.randn(hidden), torch.randn(channels, hidden),
        torch.randn(channels),
    )  # fmt: skip
    args = (x, torch.randn(channels, 1, 3, 3), parts, weights, rows, channels)
    fused, apart = both(blocks.mlp_block, *args, buffers=[torch.randn_like(x)])
    assert all(torch.equal(a, b) for a, b in zip(fused, apart, strict=True))
    assert not torch.equal(fused[0], x)


@torch.no_grad()
def test_attention_block(both):
    x, parts, rows = inputs(32)
    args = (x, parts, torch.randn(96, 32), torch.randn(32, 32), 2, rows)
    buffers = [torch.randn_like(x), torch.randn(3, 8, 6, 96)]
    fused, apart = both(blocks.attention_block, *args, buffers=buffers)
    assert all(torch.equal(a, b) for a, b in zip(fused, apart, strict=True))
    assert not torch.equal(fused[0], x)
