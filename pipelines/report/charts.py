"""The charts of the report: training curves, distance against compute, and reliability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nitrogen.pipelines.report.chart_svg import CARD, INK, MUTED, SERIES, responsive
from nitrogen.pipelines.report.data import CurvePanel, Pareto, ParetoPoint
from nitrogen.pipelines.report.data_checks import Reliability

_MAX_POINTS = 300  # More do not show on a screen, they only weigh.


def training_chart(panel: CurvePanel, name: str) -> str:
    """Losses over pictures seen, one SVG for wide and one for narrow screens."""
    label = f"{panel.title}: {', '.join(curve.label for curve in panel.curves)} over training"
    return responsive(lambda axes, narrow: _draw_curves(axes, panel), name, label, (500, 290))


def pareto_chart(pareto: Pareto, name: str) -> str:
    """Distance against compute: all points, the front, the full model's fewer steps, the choice."""
    label = f"{pareto.metric} against GFLOPs per image for {len(pareto.points)} operating points"
    return responsive(
        lambda axes, narrow: _draw_pareto(axes, pareto, narrow), name, label, (1000, 470)
    )


def reliability_chart(curve: Reliability, name: str) -> str:
    """True against predicted error of the regions, bin by bin, and the line of a right one."""
    label = f"true against predicted error of a held region, {len(curve.bins)} bins"
    return responsive(lambda axes, narrow: _draw_reliability(axes, curve), name, label, (640, 400))


def _draw_reliability(axes: Any, curve: Reliability) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    bins = [one for one in curve.bins if one.predicted > 0 and one.actual > 0]
    x, y = [one.predicted for one in bins], [one.actual for one in bins]
    if bins:
        for scale, axis in ((axes.set_xscale, axes.xaxis), (axes.set_yscale, axes.yaxis)):
            scale("log")
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
        ends = [min(*x, *y), max(*x, *y)]
        axes.plot(ends, ends, color=MUTED, linewidth=1.2, label="as predicted")
    for one in bins:
        low = max(one.low, one.actual / 100)  # a logarithmic axis has no 0
        axes.plot([one.predicted] * 2, [low, one.high], color=SERIES[0], linewidth=1.2)
    axes.plot(x, y, "-", color=SERIES[0], marker="o", linewidth=2, label="found")
    axes.set_xlabel("predicted error of holding a region")
    axes.set_ylabel("true error")
    _legend(axes, columns=2)


def _draw_curves(axes: Any, panel: CurvePanel) -> None:
    for curve, colour in zip(panel.curves, SERIES * 3, strict=False):
        x, y = _binned(curve.images, curve.values)
        if len(x) > 40:
            axes.plot(x, y, color=colour, linewidth=1, alpha=0.28)
        axes.plot(x, _smoothed(y), color=colour, linewidth=2, label=curve.label)
    values = np.concatenate([np.asarray(curve.values, float) for curve in panel.curves])
    values = values[np.isfinite(values)]
    _log_if_wide(axes, values)
    axes.set_xlabel("images seen")
    axes.xaxis.set_major_formatter(lambda value, _: _thousands(value))
    axes.locator_params(axis="x", nbins=5)
    if len(panel.curves) > 1:
        _legend(axes, columns=min(3, len(panel.curves)))


def _draw_pareto(axes: Any, pareto: Pareto, narrow: bool) -> None:
    front = sorted((pareto.points[i] for i in pareto.front), key=lambda point: point.gflops)
    others = [p for i, p in enumerate(pareto.points) if i not in set(pareto.front)]
    if others:
        _scatter(axes, others, color=MUTED, size=20, label="tried", alpha=0.55)
    _curve(axes, pareto.full_curve, SERIES[1], "full model, fewer steps", marker="s", style="-")
    _curve(axes, pareto.static_curve, SERIES[2], "student, static width", marker="^", style="--")
    _curve(axes, front, SERIES[0], "Pareto front", marker="o", style="-")
    if pareto.chosen:
        chosen = pareto.chosen
        _error_bars(axes, [chosen], INK)
        axes.plot(
            chosen.gflops,
            chosen.distance,
            marker="*",
            markersize=20,
            color=SERIES[3],
            markeredgecolor=CARD,
            markeredgewidth=1.5,
            linestyle="none",
            label="chosen",
            zorder=6,
        )
    axes.set_xlabel("GFLOPs per image, everything counted")
    axes.set_ylabel(f"{pareto.metric} (lower is better)")
    axes.margins(0.06, 0.1)
    shown = [*pareto.points, *pareto.full_curve, *pareto.static_curve]
    _log_if_wide(axes, [point.distance for point in shown])
    _legend(axes, columns=2 if narrow else 5)
    _label_points(axes, pareto.full_curve, SERIES[1])


def _scatter(axes: Any, points: Sequence[ParetoPoint], size: float, **style: Any) -> None:
    x, y = [p.gflops for p in points], [p.distance for p in points]
    axes.scatter(x, y, s=size, linewidths=0, zorder=2, **style)


def _curve(
    axes: Any, points: Sequence[ParetoPoint], colour: str, label: str, marker: str, style: str
) -> None:
    if not points:
        return
    ordered = sorted(points, key=lambda point: point.gflops)
    x, y = [p.gflops for p in ordered], [p.distance for p in ordered]
    axes.plot(
        x, y, style, color=colour, marker=marker, markersize=6, linewidth=2, label=label, zorder=4
    )
    _error_bars(axes, ordered, colour)


def _error_bars(axes: Any, points: Sequence[ParetoPoint], colour: str) -> None:
    for point in points:
        if point.low is not None and point.high is not None:
            axes.plot(
                [point.gflops] * 2, [point.low, point.high], color=colour, linewidth=1.2, zorder=3
            )


def _label_points(axes: Any, points: Sequence[ParetoPoint], colour: str) -> None:
    """Label the points up and to the right of them; skip a label that would touch the last one."""
    axes.figure.canvas.draw()
    taken: list[np.ndarray] = []
    for point in sorted(points, key=lambda point: point.gflops):
        at = axes.transData.transform((point.gflops, point.distance))
        if not point.label or any(np.abs(at - other).max() < 20 for other in taken):
            continue
        taken.append(at)
        text = axes.annotate(
            point.label,
            (point.gflops, point.distance),
            xytext=(5, 6),
            textcoords="offset points",
            color=colour,
            fontsize=11,
            zorder=7,
        )
        text.set_gid(f"halo-{len(taken)}")


def _log_if_wide(axes: Any, values: Sequence[float] | np.ndarray) -> None:
    """A logarithmic y axis with plain numbers at 1, 2 and 5, when the values span a decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if not len(values) or min(values) <= 0 or max(values) < 8 * min(values):
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _legend(axes: Any, columns: int) -> None:
    """Above the plot, where no point can lie under it."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=columns,
        frameon=False,
        labelcolor=INK,
        handlelength=1.6,
        columnspacing=1.4,
        borderaxespad=0.3,
    )


def _binned(x: Sequence[float], y: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """At most _MAX_POINTS points, each the mean of its bin; values that are not finite left out."""
    xs, ys = np.asarray(x, float), np.asarray(y, float)
    keep = np.isfinite(xs) & np.isfinite(ys)
    xs, ys = xs[keep], ys[keep]
    parts = min(len(xs), _MAX_POINTS)
    if not parts:
        return xs, ys
    bins_x, bins_y = np.array_split(xs, parts), np.array_split(ys, parts)
    return np.array([b.mean() for b in bins_x]), np.array([b.mean() for b in bins_y])


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Centred moving average over a fifteenth of the curve; short curves stay as they are."""
    half = len(values) // 30
    if len(values) <= 40:
        return values
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    low, high = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)


def _thousands(value: float) -> str:
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:g}{unit}"
    return f"{value:g}"
