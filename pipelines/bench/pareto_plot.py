"""The Pareto plot of a benchmark file: error against milliseconds, with the lower hull, as PNG."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from nitrogen.pipelines.bench.hull import lower_hull
from nitrogen.pipelines.bench.summary import FULL_GROUPS

# group -> (label, colour, marker); the order is that of the legend.
LOOKS = {
    "teacher": ("teacher, fewer steps", "#8a8f98", "o"),
    "thin": ("thin, trained from scratch", "#b07d2b", "P"),
    "cache": ("caches on the teacher", "#4c78a8", "v"),
    "static": ("student, static widths", "#59a14f", "^"),
    "ours": ("student, adaptive", "#d1495b", "D"),
}
SHOWN = {"mse": "same-seed MSE to the 64-step run", "kid": "KID to the test split"}
TOP_QUANTILE = 0.97  # of the errors: a few hopeless rows would flatten the rest


def draw_pareto(result: dict[str, Any], path: Path, which: str = "mse") -> Path:
    """Writes one panel for each batch size to `path`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    batches = list(result["summary"])
    figure = Figure(figsize=(6.4 * len(batches), 5.0), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(batches), squeeze=False, sharey=True)[0]
    for axes, batch in zip(panels, batches, strict=True):
        _panel(axes, result, batch, which)
    panels[0].set_ylabel(SHOWN[which])
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=6, frameon=False, fontsize=9.5,
    )  # fmt: skip
    where = f"{result['dataset']}, {result['hardware']}, {result['threads']} threads"
    figure.supxlabel(where, fontsize=8, color="#6b7078")
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    path.write_bytes(stream.getvalue())
    return path


def _panel(axes: Any, result: dict[str, Any], batch: str, which: str) -> None:
    rows = [
        row
        for row in result["rows"]
        if row["guidance"] == 1 and row["ms"].get(batch) and row["group"] in LOOKS
    ]
    for group, (label, colour, marker) in LOOKS.items():
        mine = [row for row in rows if row["group"] == group]
        if not mine:
            continue
        x, y = _points(mine, batch, which)
        low = [row[which]["value"] - row[which]["low"] for row in mine]
        high = [row[which]["high"] - row[which]["value"] for row in mine]
        axes.errorbar(
            x, y, yerr=[low, high], fmt=marker, color=colour,
            markersize=6.5 if group == "ours" else 5,
            elinewidth=0.8, alpha=0.95 if group in ("ours", "teacher") else 0.75, label=label,
            zorder=4 if group == "ours" else 3, markeredgecolor="white", markeredgewidth=0.6,
        )  # fmt: skip
    _hull(axes, [row for row in rows if row["group"] in FULL_GROUPS], batch, which)
    _scales(axes, rows, batch, which)
    _names(axes, [row for row in rows if row["setting"].get("tier")], batch, which)
    axes.set_title(f"batch {batch}", fontsize=11)
    axes.set_xlabel("ms a picture, median")


def _points(rows: list[dict[str, Any]], batch: str, which: str) -> tuple[list, list]:
    return [row["ms"][batch]["p50"] for row in rows], [row[which]["value"] for row in rows]


def _hull(axes: Any, rows: list[dict[str, Any]], batch: str, which: str) -> None:
    if not rows:
        return
    hull = lower_hull(*_points(rows, batch, which))
    # Straight in (log ms, error): drawn through many points, since the y axis may be logarithmic.
    x = np.linspace(hull.log_ms[0], hull.log_ms[-1], 400)
    axes.plot(
        np.exp(x), np.interp(x, hull.log_ms, hull.error), color="#30343b", linewidth=1.4,
        label="hull: teacher, thin, caches", zorder=2,
    )  # fmt: skip


def _scales(axes: Any, rows: list[dict[str, Any]], batch: str, which: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    errors = np.array(_points(rows, batch, which)[1])
    top = float(np.quantile(errors, TOP_QUANTILE))
    if errors.min() > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(errors.min() / 1.4, top * 1.6)
    else:
        span = top - errors.min()
        axes.set_ylim(errors.min() - 0.08 * span, top + 0.12 * span)
    axes.grid(True, which="major", color="#e3e5e8", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _names(axes: Any, rows: list[dict[str, Any]], batch: str, which: str) -> None:
    """The tuned tiers by name, left below their points where the good corner is free."""
    for row in rows:
        ours = row["group"] == "ours"
        axes.annotate(
            row["setting"]["tier"], (row["ms"][batch]["p50"], row[which]["value"]),
            xytext=(-7, -11) if ours else (7, 6), textcoords="offset points", fontsize=8.5,
            ha="right" if ours else "left", color=LOOKS[row["group"]][1], zorder=5,
        )  # fmt: skip
