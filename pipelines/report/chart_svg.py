"""One drawing of Matplotlib as inline SVG that takes its colours and fonts from the page's style.

Matplotlib draws with placeholder colours, which become CSS variables: one chart serves light and
dark. Each is drawn twice, for wide and for narrow screens, since shrunken text cannot be read.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

INK, MUTED, GRID, CARD = "#010101", "#010102", "#010103", "#010104"
SERIES = ("#010111", "#010112", "#010113", "#010114", "#010115")
_VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", CARD: "card"} | {
    colour: f"c{index}" for index, colour in enumerate(SERIES, start=1)
}

Draw = Callable[[Any, bool], None]  # (matplotlib Axes, narrow)


def responsive(draw: Draw, name: str, label: str, wide: tuple[int, int]) -> str:
    """The drawing for wide screens, never enlarged beyond its size in px, and for narrow ones."""
    narrow_size, limit = (344, min(wide[1], 330)), f"max-width:{wide[0]}px"
    drawn = _svg(draw, f"{name}-w", label, wide, False)
    return (
        f'<div class="chart wide" style="{limit}">{drawn}</div>'
        f'<div class="chart narrow">{_svg(draw, f"{name}-n", label, narrow_size, True)}</div>'
    )


def _svg(draw: Draw, name: str, label: str, size: tuple[int, int], narrow: bool) -> str:
    """One SVG of size px; one unit of matplotlib (1/72 inch) is one CSS pixel."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: Any = {**_STYLE, "svg.hashsalt": name}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(size[0] / 72, size[1] / 72), dpi=72, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.grid(True, axis="y")
        axes.tick_params(length=0)
        draw(axes, narrow)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    return _inline(stream.getvalue(), name, label)


_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.size": 12,
    "font.family": "DejaVu Sans",
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": GRID,
    "grid.linewidth": 1.0,
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "ytick.minor.size": 0,
    "xtick.minor.size": 0,
    "lines.solid_capstyle": "round",
}


def _inline(svg: str, name: str, label: str) -> str:
    """An <svg> element for HTML: no prolog, own ids, the page's colours and font, a label."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Two charts on a page would otherwise share ids, and a hidden one would own the clip paths.
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    svg = re.sub(r"'DejaVu Sans'(, [^;\"]*)?", "var(--sans)", svg)
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', r'<svg viewBox="\1">', svg, count=1)
    escaped = label.replace("&", "and").replace("<", "").replace('"', "")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escaped}" ', 1)
