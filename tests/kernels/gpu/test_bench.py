"""The measurement of a GPU, at toy sizes in the interpreter: its lines, and that it can refuse."""

from dataclasses import replace

import pytest
import torch

from nitrogen.kernels.counts import COUNTS, Shape
from nitrogen.kernels.gpu import bench
from nitrogen.kernels.gpu.calls import ARGUMENTS
from nitrogen.kernels.roofline import SHAPES

TOYS = tuple(Shape(op, b=1, side=8, channels=16, active=0.5) for op in COUNTS)


@pytest.fixture(autouse=True)
def unpoisoned(poisoned):
    """Plain PyTorch may fill what it allocates."""
    torch.use_deterministic_algorithms(False)


def test_every_operator_of_the_cost_model_can_be_called():
    assert set(ARGUMENTS) == set(COUNTS) == {shape.op for shape in SHAPES}


@pytest.mark.parametrize("shape", TOYS, ids=lambda shape: shape.op)
def test_lines_of_an_operator(shape):
    lines = list(
        bench.measure("cpu", dtype=torch.float32, shapes=(shape,), repeats=1, compiled=False)
    )
    assert [line["op"] for line in lines] == ["copy", "matmul", shape.op, shape.op]
    plain = "eager" if shape.op == "plan_rows" else "dense"  # a dense network plans nothing
    assert {line["provider"] for line in lines[2:]} == {plain, "triton"}
    assert all(line["kind"] == "measured" and line["p50"] > 0 for line in lines)
    [ours] = [line for line in lines if line["provider"] == "triton"]
    assert ours["error"] <= 2e-6


def test_every_shape_is_compiled_as_it_is(monkeypatch):
    """The compiler sees each shape as if it were the first: no size becomes a symbol."""
    made, compiling = [], torch.compile

    def compiled(function, **options):
        def seen(graph, example_inputs):
            made.append([v for value in example_inputs for v in value.shape])
            return graph

        assert options.pop("backend") == "eager"
        return compiling(function, backend=seen, **options)

    monkeypatch.setattr(torch, "compile", compiled)
    sizes = [replace(TOYS[0], op="gated_add", channels=16 * (i + 1)) for i in range(10)]
    shapes = [*TOYS, *sizes]
    lines = list(
        bench.measure("cpu", dtype=torch.float32, shapes=shapes, repeats=2, backend="eager")
    )
    assert len([line for line in lines if line["provider"] == "compile"]) == len(shapes)
    assert len(made) == len(shapes), "each once"
    assert all(type(size) is int for shape in made for size in shape)


def test_a_wrong_kernel_gets_no_time(monkeypatch):
    wrong = lambda x, gate, residual, _: x + residual  # noqa: E731
    monkeypatch.setattr(bench, "triton_kernel", lambda _: wrong)
    shape = replace(TOYS[0], op="gated_add")
    lines = list(
        bench.measure("cpu", dtype=torch.float32, shapes=(shape,), repeats=1, compiled=False)
    )
    assert lines[-1]["failed"]
    assert lines[-1]["metric"] == "relative_rms"
    assert lines[-1]["p50"] > 0.1


def test_tuning_times_every_candidate():
    shape = replace(TOYS[0], op="gated_add")
    lines = bench.measure(
        "cpu", dtype=torch.float32, shapes=(shape,), repeats=1, compiled=False, tune=True
    )
    names = [line["provider"] for line in lines]
    assert sum(name.startswith("triton ") for name in names) == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_without_a_gpu_it_says_so():
    with pytest.raises(ValueError, match="device must be a GPU"):
        next(bench.measure())
