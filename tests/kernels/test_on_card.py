"""The measurement of a GPU on a GPU, at toy sizes."""

import gc

import pytest
import torch

from nitrogen.kernels.counts import COUNTS, Shape

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_lines_of_every_operator(dtype):
    from nitrogen.kernels.gpu import bench

    shapes = [Shape(op, b=2, side=16, channels=64, active=0.5) for op in COUNTS]
    with torch.no_grad():
        lines = list(
            bench.measure(dtype=dtype, shapes=shapes, repeats=3, compiled=False, tune=True)
        )
    assert not [line for line in lines if line.get("failed")]
    assert {line["op"] for line in lines if line["provider"] == "triton"} == set(COUNTS)


def test_a_replay_keeps_the_tensors_of_its_call():
    from nitrogen.kernels.gpu import bench

    def made():
        x, out = torch.full((1 << 20,), 3.0, device="cuda"), torch.zeros(1 << 20, device="cuda")
        return bench.captured(lambda: out.copy_(x)), out

    replay, out = made()
    gc.collect()
    torch.cuda.empty_cache()
    other = torch.full((1 << 22,), 7.0, device="cuda")
    replay()
    assert bool((out == 3).all())
    assert bool((other == 7).all())
