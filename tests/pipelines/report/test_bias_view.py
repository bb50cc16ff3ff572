"""The section on bias: what it answers, its strips of colours and its chart of classes."""

from dataclasses import replace

import numpy as np
import pytest

from nitrogen.pipelines.metrics.bias import statistics
from nitrogen.pipelines.report.bias_view import answer, bias_view, strip
from nitrogen.pipelines.report.data_checks import Bias, BiasRow
from nitrogen.pipelines.report.measured import Measured

NAMES = tuple(f"class {i}" for i in range(20))


def row(name: str, seed: int) -> BiasRow:
    shares = np.random.default_rng(seed).dirichlet(np.ones(20))
    return BiasRow(
        name, 100, 0.5, 0.3, Measured(0.2), Measured(0.1), class_shares=shares.tolist(),
        colour_shares=[1 / 64] * 64, classes_over_teacher=Measured(0.05, 0.02, 0.08),
        colours_over_teacher=Measured(-0.01, -0.03, 0.01),
    )  # fmt: skip


@pytest.fixture
def bias() -> Bias:
    data = replace(row("data", 0), classes_over_teacher=None, colours_over_teacher=None)
    return Bias([data, row("student", 1)], 0.5, 0.03, 0.01, 100, NAMES)


def test_the_answer_names_what_is_farther_and_what_cannot_be_told():
    text = answer(row("student", 1))
    assert "in classes +0.050 [+0.020, +0.080], farther from the data" in text
    assert "in colours -0.010 [-0.030, +0.010], no difference shown" in text
    nearer = replace(row("s", 1), classes_over_teacher=Measured(-0.05, -0.08, -0.02))
    assert "[-0.080, -0.020], nearer to the data" in answer(nearer)


def test_a_strip_has_the_colours_that_were_counted():
    images = np.zeros((1, 4, 4, 3), np.uint8)
    images[0, :3] = (255, 10, 250)
    segments = strip(statistics(images, np.zeros(1, int)).colours[0].tolist())
    assert [(s["colour"], s["width"]) for s in segments] == [
        ("rgb(255 0 255)", "75.00"), ("rgb(0 0 0)", "25.00"),
    ]  # fmt: skip


def test_strips_stand_in_the_order_of_the_data(bias):
    rare_first = [0.2, 0.5, *[0.3 / 62] * 62]
    rows = [
        replace(bias.rows[0], colour_shares=rare_first),
        replace(bias.rows[1], colour_shares=rare_first[::-1]),
    ]
    (_, data), (_, student) = bias_view(replace(bias, rows=rows))["strips"]
    assert [s["colour"] for s in data][:2] == ["rgb(0 0 85)", "rgb(0 0 0)"]
    assert [s["colour"] for s in student][:2] == ["rgb(0 0 85)", "rgb(0 0 0)"]
    assert float(student[-2]["width"]) == 50  # last in the data, most frequent in the student


def test_all_classes_on_a_wide_screen_and_the_widest_gaps_on_a_narrow_one(bias):
    view = bias_view(bias)
    wide, narrow = view["chart"].split('class="chart narrow"')
    assert all(name in wide for name in NAMES)
    assert sum(f">{name}<" in narrow for name in NAMES) == 12
    assert len(view["answers"]) == 1


def test_an_older_evaluation_has_its_table_alone(bias):
    rows = [replace(r, class_shares=(), colour_shares=()) for r in bias.rows]
    view = bias_view(replace(bias, rows=rows))
    assert (view["chart"], view["strips"]) == ("", [])
