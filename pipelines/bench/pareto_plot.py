"""The Pareto plot of a benchmark file: error against milliseconds, with the lower hull, as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nitrogen.pipelines.bench.charged import CHARGED, charged_p50
from nitrogen.pipelines.bench.frontier_config import is_quick
from nitrogen.pipelines.bench.hull import Hull, lower_hull
from nitrogen.pipelines.bench.label_places import TOWARDS_BETTER, Label, place
from nitrogen.pipelines.bench.plot_style import LOOKS, OTHERS, THEMES, Theme, figure_style
from nitrogen.pipelines.bench.row_names import SOLVERS, short_name
from nitrogen.pipelines.bench.settings import SOLVER
from nitrogen.pipelines.bench.summary import FULL_GROUPS

Row = Mapping[str, Any]


PLAIN = "torch"  # rows by PyTorch's own operators: hollow, where others run on those of ours
HIDDEN = ("control", "ignored")  # they answer other questions than how fast one can be
SHOWN = {
    "mse": "MSE to the teacher's 64 steps, same seeds",
    "kid": "KID to the test split",
}
LESS = f"{SOLVERS[CHARGED]} timed as {SOLVERS[SOLVER]} where less"
TOP_QUANTILE = 0.97  # of the errors: a few hopeless rows would flatten the rest
WIDTH_PX, HEIGHT_PX, DPI = 1200, 640, 150


def draw_pareto(
    result: Mapping[str, Any], path: Path, which: str = "mse", theme: str = "light"
) -> Path:
    """Writes one panel for each batch size to `path`, 1,200 px wide. which: "mse" or "kid"."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    batches, look = list(result["summary"]), THEMES[theme]
    with matplotlib.rc_context(figure_style(look)):
        size = (WIDTH_PX / DPI, HEIGHT_PX / DPI)
        figure = Figure(figsize=size, dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(batches), squeeze=False, sharey=True)[0]
        drawn = [
            _panel(axes, result, batch, which, look)
            for axes, batch in zip(panels, batches, strict=True)
        ]
        panels[0].set_ylabel(SHOWN[which])
        _legend(figure, panels, result["rows"])
        figure.supxlabel(_source(result), fontsize=6.5, color=look.muted)
        figure.canvas.draw()
        figure.set_layout_engine("none")  # labels are placed in pixels: nothing may move now
        for axes, (labels, obstacles) in zip(panels, drawn, strict=True):
            place(axes, labels, obstacles, 7, look.muted, look.paper)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", facecolor=look.paper)
    path.write_bytes(stream.getvalue())
    return path


def compared(result: Mapping[str, Any], batch: str) -> list[Row]:
    """The rows that a panel shows: unguided and timed, without the controls."""
    return [
        row
        for row in result["rows"]
        if row["guidance"] == 1 and row["ms"].get(batch) and row["group"] not in HIDDEN
    ]


def as_charged(rows: Sequence[Row], batch: str) -> list[Row]:
    """The rows of a panel at the times that the figures take: a rival's may be less than its own,
    and a gap must be as wide as the number beside it says."""
    return [
        {**row, "ms": {**row["ms"], batch: {**row["ms"][batch], "p50": ms}}}
        for row, ms in zip(rows, charged_p50(rows, batch), strict=True)
    ]


def point(row: Row, batch: str, which: str) -> tuple[float, float]:
    """(median ms, error)."""
    return row["ms"][batch]["p50"], row[which]["value"]


def _panel(
    axes: Any, result: Mapping[str, Any], batch: str, which: str, theme: Theme
) -> tuple[list[Label], np.ndarray]:
    """Draws a panel; returns its labels and what they must not cover."""
    timed = compared(result, batch)
    rows = as_charged(timed, batch)
    _scales(axes, rows, batch, which)
    groups = [*LOOKS, *sorted({row["group"] for row in rows} - set(LOOKS))]
    for group in groups:
        _scatter(axes, [row for row in rows if row["group"] == group], group, batch, which)
    field = [row for row in rows if row["group"] in FULL_GROUPS]
    ours = [row for row in rows if row["group"] == "ours"]
    lines, labels = [], []
    hull = _hull(axes, field, batch, which, theme.ink, "the best without ours: hull")
    own = _hull(axes, ours, batch, which, LOOKS["ours"].colour, None)
    corners = [field[i] for i in hull[0].rows] if hull is not None else []
    _bars(axes, [*ours, *corners], batch, which)
    gaps = result["summary"][batch].get("speedup_at_equal_quality", {})
    for row in ours:
        if (tier := row["setting"].get("tier")) in gaps:
            found = gaps[tier][which]
            lines.append(_gap(axes, row, found, hull, batch, which))
            labels.append(_tier_label(axes, row, tier, found, batch, which))
    labels += [_corner_label(axes, row, batch, which, theme) for row in corners]
    lines += [line[1] for line in (hull, own) if line is not None]
    points = np.array([point(row, batch, which) for row in rows]).reshape(-1, 2)
    axes.set_title(f"batch {batch}", fontsize=8.5, color=theme.ink, loc="left")
    axes.set_xlabel("ms a picture, median" + (f"; {LESS}" if rows != timed else ""))
    return [one for one in labels if one is not None], np.concatenate([points, *lines])


def _scatter(axes: Any, rows: Sequence[Row], group: str, batch: str, which: str) -> None:
    if not rows:
        return
    look, front = LOOKS.get(group, OTHERS), group == "ours"
    paper = axes.get_facecolor()
    for plain, layer in ((True, 3), (False, 5 if front else 4)):
        part = [row for row in rows if (row.get("operators") == PLAIN) == plain]
        if part:
            x, y = np.array([point(row, batch, which) for row in part]).T
            axes.scatter(
                x, y, s=look.size * (0.7 if plain else 1.0), marker=look.marker,
                color=paper if plain else look.colour, linewidths=0.7 if plain else 0.5,
                edgecolors=look.colour if plain else paper, alpha=0.6 if plain else 1.0,
                zorder=layer,
                label=None if plain else look.label if group in LOOKS else group,
            )  # fmt: skip


def _bars(axes: Any, rows: Sequence[Row], batch: str, which: str) -> None:
    """95 % intervals of the error; of all rows they would hide the points."""
    for row in rows:
        colour = LOOKS.get(row["group"], OTHERS).colour
        ms, found = row["ms"][batch]["p50"], row[which]
        axes.vlines(ms, found["low"], found["high"], color=colour, linewidth=0.7, zorder=3)


def _hull(
    axes: Any, rows: Sequence[Row], batch: str, which: str, colour: str, label: str | None
) -> tuple[Hull, np.ndarray] | None:
    """The lower hull of the rows and samples of its line [k, 2]; None without rows."""
    if not rows:
        return None
    hull = lower_hull(*np.array([point(row, batch, which) for row in rows]).T)
    # Straight in (log ms, error): drawn through many points, since the y axis may be logarithmic.
    x = np.linspace(hull.log_cost[0], hull.log_cost[-1], 200)
    line = np.stack([np.exp(x), np.interp(x, hull.log_cost, hull.error)], axis=1)
    style = "-" if label else (0, (4, 2))
    axes.plot(*line.T, color=colour, linewidth=1.1, linestyle=style, label=label, zorder=2)
    return hull, line


def _gap(
    axes: Any, row: Row, found: Mapping[str, Any], hull: Any, batch: str, which: str
) -> np.ndarray:
    """A line from our point to the place of the hull that it is compared with; none where it is
    worse than all of it."""
    ms, error = point(row, batch, which)
    if hull is None or not _comparable(found):
        return np.zeros((0, 2))
    other = float(np.exp(hull[0].log_cost_at(error)))
    axes.plot(
        [ms, other], [error, error], color=LOOKS["ours"].colour, linewidth=0.9, linestyle=":",
        zorder=3,
    )  # fmt: skip
    return np.stack([np.geomspace(ms, other, 30), np.full(30, error)], axis=1)


def _tier_label(
    axes: Any, row: Row, tier: str, found: Mapping[str, Any], batch: str, which: str
) -> Label | None:
    x, y = point(row, batch, which)
    if not _inside(axes, x, y):
        return None
    text = f"{tier} {found['value']:.2f}x" if _comparable(found) else tier
    return Label(text, x, y, LOOKS["ours"].colour, True, True, TOWARDS_BETTER)


def _comparable(found: Mapping[str, Any]) -> bool:
    """Whether the hull reaches our error."""
    return found["value"] is not None and not found.get("slower_than_all")


def _corner_label(axes: Any, row: Row, batch: str, which: str, theme: Theme) -> Label | None:
    x, y = point(row, batch, which)
    return Label(short_name(row), x, y, theme.ink) if _inside(axes, x, y) else None


def _inside(axes: Any, x: float, y: float) -> bool:
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    return bool(left <= x <= right and low <= y <= high)


def _scales(axes: Any, rows: Sequence[Row], batch: str, which: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    ms, errors = np.array([point(row, batch, which) for row in rows]).T
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.set_xscale("log")
    axes.set_xlim(ms.min() / 1.7, ms.max() * 1.35)  # room for labels on the left
    wide = ms.max() > 12 * ms.min()
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if wide else (1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter(plain)
    axes.xaxis.set_minor_locator(NullLocator())
    shown = errors[errors <= np.quantile(errors, TOP_QUANTILE)]
    if shown.min() > 0 and shown.max() > 4 * shown.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(plain)
        axes.yaxis.set_minor_locator(NullLocator())
        low, high = shown.min() / 1.6, shown.max() * 1.4
    else:
        span = max(shown.max() - shown.min(), 1e-9)
        low, high = shown.min() - 0.1 * span, shown.max() + 0.1 * span
    axes.set_ylim(low, high)
    if hidden := int((errors > high).sum()):
        axes.annotate(
            f"{hidden} {'row lies' if hidden == 1 else 'rows lie'} above", (1, 1),
            xycoords="axes fraction", xytext=(-2, 4), textcoords="offset points", ha="right",
            va="bottom", fontsize=6.5,
        )  # fmt: skip
    axes.grid(True, which="major")


def _legend(figure: Any, panels: Sequence[Any], rows: Sequence[Row]) -> None:
    entries: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if any(row.get("operators") == PLAIN for row in rows):
        hollow = panels[0].scatter(
            [],
            [],
            s=16,
            color=panels[0].get_facecolor(),
            edgecolors=LOOKS["teacher"].colour,
            linewidths=0.7,
        )
        entries["hollow: by plain PyTorch"] = hollow
    figure.legend(
        entries.values(), entries, loc="outside upper left", ncols=4, frameon=False, fontsize=7.2,
        handletextpad=0.4, columnspacing=1.6, borderaxespad=0.4,
    )  # fmt: skip


def _source(result: Mapping[str, Any]) -> str:
    threads = "1 thread" if result["threads"] == 1 else f"{result['threads']} threads"
    parts = [
        str(result["dataset"]), f"n = {max(row['n'] for row in result['rows']):,} seeds",
        f"bars: 95 %; {result['hardware']}, {threads}",
        f"commit {result['commit']}",
    ]  # fmt: skip
    quick = is_quick(str(result.get("command") or ""))
    return ("A QUICK RUN: DECIDES NOTHING.  " if quick else "") + ", ".join(parts)
