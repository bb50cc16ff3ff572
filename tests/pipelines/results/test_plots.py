"""The Pareto plot: its size, its themes, and labels that lie on nothing."""

import copy

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from nitrogen.pipelines.bench import pareto_plot
from nitrogen.pipelines.bench.label_places import Label, place
from nitrogen.pipelines.bench.pareto_plot import compared, draw_pareto
from nitrogen.pipelines.bench.row_names import short_name


def axes_of(width=600, height=400):
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 1), ylim=(0, 1))
    return axes


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_plot_fits_a_readme(result, tmp_path, theme):
    path = draw_pareto(result, tmp_path / "plot.png", "mse", theme)
    picture = Image.open(path).convert("L")
    assert picture.width == 1200
    corner = picture.getpixel((0, picture.height - 1))
    assert corner > 200 if theme == "light" else corner < 50


def test_a_group_that_is_not_known_is_drawn_all_the_same(result, tmp_path):
    fresh = {**result["rows"][0], "group": "something new", "extra": 1}
    draw_pareto(result | {"rows": [*result["rows"], fresh]}, tmp_path / "plot.png", "kid")
    assert fresh in compared(result | {"rows": [fresh]}, "1")


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draws a file's MSE; for each panel the ends of its dotted lines, its labels, and below."""
    gaps, labels, below = [], [], []
    plot, xlabel = Axes.plot, Axes.set_xlabel

    def plotted(axes, x, y, **style):
        if style.get("linestyle") == ":":
            gaps.append(tuple(x))
        return plot(axes, x, y, **style)

    monkeypatch.setattr(Axes, "plot", plotted)
    monkeypatch.setattr(Axes, "set_xlabel", lambda axes, x: below.append(x) or xlabel(axes, x))
    monkeypatch.setattr(pareto_plot, "place", lambda axes, found, *_: labels.extend(found))

    def draw(content):
        draw_pareto(content, tmp_path / "plot.png")
        return gaps, {label.x: label.text for label in labels if "x" in label.text}, below

    return draw


@pytest.mark.parametrize("unipc", [0.8, 1.2, 1.5])
def test_a_gap_is_as_wide_as_the_number_beside_it(small, made, drawn, unipc):
    """Whatever UniPC's own steps cost; its rows at as many steps as DPM-Solver++'s are nearer."""
    steps = small.teacher_steps | {"unipc": (5, 6, 8, 10, 12)}
    config = small.model_copy(update={"teacher_steps": steps})
    gaps, numbers, below = drawn(made.frontier(config, unipc=unipc))
    assert len(gaps) == len(numbers) == 6
    for ours, other in gaps:
        assert numbers[ours].endswith(f" {other / ours:.2f}x")
    shown = "UniPC timed as DPM++ where less"
    assert [shown in text for text in below] == [unipc > 1] * 2


@pytest.mark.parametrize(
    ("command", "quick"),
    [("x --quick", True), ("x --preset quick", True), ("x --preset day", False), (None, False)],
)
def test_the_plot_of_a_quick_run_says_so(result, tmp_path, monkeypatch, command, quick):
    told = []
    monkeypatch.setattr(Figure, "supxlabel", lambda figure, text, **_: told.append(text))
    draw_pareto(result | {"command": command}, tmp_path / "plot.png")
    assert told[0].startswith("A QUICK RUN: DECIDES NOTHING") is quick


def test_what_is_worse_than_every_row_has_no_gap_and_no_number(result, drawn):
    content = copy.deepcopy(result)
    for figures in content["summary"].values():
        figures["speedup_at_equal_quality"]["low"]["mse"]["slower_than_all"] = True
    gaps, numbers, _ = drawn(content)
    assert len(gaps) == len(numbers) == 4
    assert not any(text.startswith("low") for text in numbers.values())


def test_controls_and_guided_rows_are_not_compared(result):
    shown = compared(result, "1")
    assert {row["group"] for row in shown} == {"teacher", "thin", "static", "cache", "ours"}
    assert all(row["guidance"] == 1 for row in shown)


def test_labels_cover_neither_points_nor_each_other():
    axes, generator = axes_of(), np.random.default_rng(0)
    points = generator.uniform(0.2, 0.8, (12, 2))
    labels = [Label(f"row {i}", *point, "#000000") for i, point in enumerate(points)]
    texts = place(axes, labels, points, 8, "#888888", "#ffffff")
    assert len(texts) > 6
    boxes = [text.get_window_extent() for text in texts]
    pixels = axes.transData.transform(points)
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
        assert not any(box.contains(*pixel) for pixel in pixels)


def test_a_label_without_a_free_place_is_left_out_unless_it_must_be_shown():
    crowd = np.stack(np.meshgrid(np.linspace(0, 1, 60), np.linspace(0, 1, 60)), -1).reshape(-1, 2)
    some = [Label("may", 0.5, 0.5, "#000000"), Label("must", 0.5, 0.5, "#000000", must=True)]
    texts = place(axes_of(), some, crowd, 8, "#888888", "#ffffff")
    assert [text.get_text() for text in texts] == ["must"]


@pytest.mark.parametrize(
    ("name", "setting", "short"),
    [
        ("teacher unipc 7", {"model": "teacher", "solver": "unipc", "num_steps": 7}, "UniPC 7"),
        ("thin quarter dpmpp_2m 8", {"solver": "dpmpp_2m", "num_steps": 8}, "thin quarter 8"),
        ("DeepCache-like N=2, 8 steps", {"num_steps": 8}, "DeepCache N=2, 8"),
    ],
)
def test_short_names(name, setting, short):
    group = name.split()[0] if name.startswith(("teacher", "thin")) else "cache"
    assert short_name({"name": name, "kind": "dense", "group": group, "setting": setting}) == short
