"""The cost model: counts against torch's own counter and by hand, and a prediction's label."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nitrogen.kernels import roofline
from nitrogen.kernels.counts import COUNTS, Shape, work
from nitrogen.kernels.measured import BEGIN, END, filled, measured, read_lines
from nitrogen.kernels.reference import REFERENCES
from nitrogen.kernels.roofline import CARDS, SHAPES, predict_s
from nitrogen.kernels.row_mlp import dense_mlp


def test_what_is_counted_has_a_shape_and_is_an_operator():
    assert {shape.op for shape in SHAPES} == set(COUNTS) <= set(REFERENCES)


@pytest.mark.parametrize("width", [0.25, 1.0])
def test_flops_of_row_mlp_are_those_that_torch_counts(width):
    shape = Shape("row_mlp", b=2, side=8, channels=32, width=width)
    with torch.device("meta"):
        x, w_in, w_out = torch.empty(128, 32), torch.empty(128, 32), torch.empty(32, 128)
        with FlopCounterMode(display=False) as counter:
            dense_mlp(x, w_in, torch.empty(128), w_out, torch.empty(32), round(128 * width))
    assert work(shape, 2).flops == counter.get_total_flops()


def test_bytes_of_gated_add_are_three_maps_and_a_gate():
    shape = Shape("gated_add", b=2, side=4, channels=8)
    assert work(shape, 2).bytes == 2 * (3 * 32 * 8 + 2 * 8)


def test_cost_follows_rows_and_width():
    full, half = (Shape("row_mlp", 64, 32, 256, active) for active in (1.0, 0.5))
    narrow = Shape("row_mlp", 64, 32, 256, 1.0, 0.25)
    assert work(half, 2).flops == work(full, 2).flops / 2
    assert work(narrow, 2).flops == work(full, 2).flops / 4
    for card in CARDS:
        assert predict_s(half, card, 2) < predict_s(full, card, 2)


def test_a_large_product_is_bound_by_arithmetic_and_a_sum_by_memory():
    [card] = [c for c in CARDS if c.name == "A100"]
    product = work(Shape("row_mlp", 256, 32, 1536), 2)
    assert roofline.bound(product, card, 2) == "arithmetic"
    assert roofline.bound(work(Shape("gated_add", 256, 32, 256), 2), card, 2) == "memory"
    assert roofline.bound(work(Shape("gated_add", 1, 2, 8), 2), card, 2) == "launch"


def test_predictions_say_so_and_leave_the_measured_column_empty():
    lines = list(roofline.predictions())
    assert len(lines) == len(SHAPES) * len(CARDS)
    assert all(line["kind"] == "predicted" and line["measured_us"] is None for line in lines)
    assert all(line["source"] for line in lines)
    assert roofline.table().count("\n") == len(SHAPES) + 1


def test_the_readme_shows_the_predictions_of_this_code(repository):
    """Whatever a card has put into the last column."""
    text = (repository / "kernels" / "README.md").read_text(encoding="utf-8")
    shown = text.partition(BEGIN)[2].partition(END)[0].splitlines()
    assert predicted(shown) == predicted(roofline.table().splitlines())


def test_the_readme_shows_what_was_measured(repository):
    """The lines of the card that is published, and no others."""
    text = (repository / "kernels" / "README.md").read_text(encoding="utf-8")
    lines = read_lines(repository / "docs/results/kernels-h200.jsonl")
    assert filled(SHAPES, measured(lines, SHAPES)) in text


def predicted(lines):
    return [line.rsplit("|", 2)[0] for line in lines if line.startswith("|")]
