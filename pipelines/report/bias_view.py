"""Classes and colours of data and models as pictures: dots of class shares, strips of colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nitrogen.pipelines.metrics.bias import COLOUR_LEVELS
from nitrogen.pipelines.report.chart_svg import INK, SERIES, responsive
from nitrogen.pipelines.report.data import Bias, BiasRow
from nitrogen.pipelines.report.formatting import bracket, number

MAX_NARROW = 12  # classes on a narrow screen: those whose share differs most
MARKERS = ("o", "s", "D", "^")


def bias_view(bias: Bias) -> dict[str, Any]:
    """What the section shows; chart and strips only where the evaluation kept the shares."""
    charted = bias.classes and all(row.class_shares for row in bias.rows)
    return {
        "bias": bias,
        "chart": class_chart(bias) if charted else "",
        "strips": [(row.name, strip(row.colour_shares)) for row in bias.rows if row.colour_shares],
        "answers": [answer(row) for row in bias.rows if row.classes_over_teacher],
    }


def answer(row: BiasRow) -> str:
    """ "student, adaptive: 0.05 [0.04, 0.06] farther from the data in colours, ..."."""
    parts = []
    for what, found in (
        ("classes", row.classes_over_teacher), ("colours", row.colours_over_teacher),
    ):  # fmt: skip
        if found is None:
            continue
        low, high = found.low, found.high
        if low is not None and high is not None and low <= 0 <= high:
            word = f"no farther from the data in {what} than the teacher, as far as can be told"
        else:
            word = f"{'farther from' if found.value > 0 else 'nearer to'} the data in {what}"
            word += " than the teacher"
        parts.append(f"{word}: {found.value:+.3f} {bracket(low, high)}".strip())
    return f"{row.name}: {'; '.join(parts)}"


def strip(shares: Sequence[float], least: float = 0.004) -> list[dict[str, str]]:
    """Segments, the largest first: a colour in CSS and its width in %; small ones are left out."""
    order = np.argsort(-np.asarray(shares), kind="stable")
    kept = [int(i) for i in order if shares[i] >= least]
    segments = []
    for index in kept:
        r, g, b = (round(255 * level / (COLOUR_LEVELS - 1)) for level in _levels(index))
        segments.append({
            "colour": f"rgb({r} {g} {b})", "width": f"{100 * shares[index]:.2f}",
            "title": f"{number(100 * shares[index])} % of the pixels",
        })  # fmt: skip
    return segments


def _levels(index: int) -> tuple[int, int, int]:
    """Of red, green and blue, from the number of a colour in metrics.bias."""
    rest, blue = divmod(index, COLOUR_LEVELS)
    red, green = divmod(rest, COLOUR_LEVELS)
    return red, green, blue


def class_chart(bias: Bias) -> str:
    """Share of every class in each set, the data's as a bar and the models' as dots."""
    height = 60 + 19 * len(bias.classes)
    label = f"Shares of {len(bias.classes)} classes among the pictures of each set"
    return responsive(lambda axes, narrow: _draw(axes, bias, narrow), "bias", label, (1000, height))


def _draw(axes: Any, bias: Bias, narrow: bool) -> None:
    shares = np.array([row.class_shares for row in bias.rows])
    order = np.argsort(shares[0], kind="stable")
    if narrow and len(order) > MAX_NARROW:
        gaps = np.abs(shares[1:] - shares[0]).max(axis=0, initial=0.0)
        widest = set(np.argsort(-gaps, kind="stable")[:MAX_NARROW].tolist())
        order = np.array([i for i in order if int(i) in widest])
    y = np.arange(len(order))
    axes.barh(y, 100 * shares[0][order], color=INK, alpha=0.16, height=0.7, label=bias.rows[0].name)
    models = list(zip(bias.rows[1:], shares[1:], SERIES * 2, MARKERS * 2, strict=False))
    for row, mine, colour, marker in models:
        axes.plot(
            100 * mine[order], y, linestyle="none", marker=marker, markersize=6, color=colour,
            alpha=0.85, label=row.name,
        )  # fmt: skip
    axes.set_yticks(y, [bias.classes[i] for i in order], fontsize=10 if narrow else 11)
    axes.grid(False, axis="y")
    axes.grid(True, axis="x")
    axes.set_ylim(-0.7, len(order) - 0.3)
    axes.set_xlim(left=0)
    axes.set_xlabel("% of the pictures, as the class reader tells them")
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2 if narrow else 4, frameon=False,
        labelcolor=INK, handlelength=1.2, columnspacing=1.4, borderaxespad=0.3,
    )  # fmt: skip
