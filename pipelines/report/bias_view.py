"""Classes and colours of data and models as pictures: dots of class shares, strips of colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nitrogen.pipelines.metrics.bias import COLOUR_LEVELS
from nitrogen.pipelines.report.chart_svg import INK, SERIES, responsive
from nitrogen.pipelines.report.data_checks import Bias, BiasRow
from nitrogen.pipelines.report.formatting import number

MAX_NARROW = 12  # classes on a narrow screen: those whose share differs most
MARKERS = ("o", "s", "D", "^")


def bias_view(bias: Bias) -> dict[str, Any]:
    """What the section shows; chart and strips only where the evaluation kept the shares."""
    known = [row for row in bias.rows if row.colour_shares]
    # One order for all, so that a colour stands at about the same place in every strip.
    order = most_frequent(known[0].colour_shares) if known else []
    charted = bias.classes and all(row.class_shares for row in bias.rows)
    return {
        "bias": bias,
        "chart": class_chart(bias) if charted else "",
        "strips": [(row.name, strip(row.colour_shares, order)) for row in known],
        "answers": [answer(row) for row in bias.rows if row.classes_over_teacher],
    }


def answer(row: BiasRow) -> str:
    """One line: in classes -0.005 [-0.020, +0.010], no difference shown; in colours ..."""
    parts = []
    for what, found in (
        ("classes", row.classes_over_teacher), ("colours", row.colours_over_teacher),
    ):  # fmt: skip
        if found is None or found.low is None or found.high is None:
            continue
        word = "farther from the data" if found.low > 0 else "nearer to the data"
        word = "no difference shown" if found.low <= 0 <= found.high else word
        parts.append(f"in {what} {found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}], {word}")
    return f"{row.name} against the teacher: {'; '.join(parts)}"


def strip(
    shares: Sequence[float], order: Sequence[int] | None = None, least: float = 0.004
) -> list[dict[str, str]]:
    """Segments: a colour in CSS and its width in %; small ones are left out.

    order: of the colours, the most frequent first by default.
    """
    segments = []
    for index in order if order is not None else most_frequent(shares):
        if shares[index] >= least:
            r, g, b = (round(255 * level / (COLOUR_LEVELS - 1)) for level in _levels(index))
            segments.append({
                "colour": f"rgb({r} {g} {b})", "width": f"{100 * shares[index]:.2f}",
                "title": f"{number(100 * shares[index])} % of the pixels",
            })  # fmt: skip
    return segments


def most_frequent(shares: Sequence[float]) -> list[int]:
    return [int(i) for i in np.argsort(-np.asarray(shares), kind="stable")]


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
    axes.set_xlabel("% of the pictures")
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.5 if narrow else -0.02, 1.0),
        ncols=2 if narrow else 4, frameon=False, labelcolor=INK, handlelength=1.2,
        columnspacing=1.4, borderaxespad=0.3,
    )  # fmt: skip
