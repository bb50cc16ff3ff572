"""How figures of a benchmark look: a colour and a marker for each group of rows, light and dark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Mark:
    """Legend, colour (Okabe and Ito 2008: told apart by the colour-blind) and marker of a group."""

    label: str
    colour: str
    marker: str
    size: float = 22


# The order is that of the legend.
LOOKS = {
    "teacher": Mark("teacher, fewer steps", "#8b929c", "o"),
    "thin": Mark("thin, trained from scratch", "#e69f00", "P", 26),
    "cache": Mark("caches on the teacher", "#56b4e9", "v"),
    "static": Mark("student, static widths", "#009e73", "^"),
    "ours": Mark("student, adaptive", "#d55e00", "D", 24),
}
OTHERS = Mark("other", "#cc79a7", "s")


@dataclass(frozen=True)
class Theme:
    """Colours of everything that is not data."""

    paper: str
    ink: str
    muted: str
    grid: str


THEMES = {
    "light": Theme("#ffffff", "#1f2328", "#59636e", "#e4e7eb"),
    "dark": Theme("#0d1117", "#f0f6fc", "#9198a1", "#2a313c"),
}


def themed(stem: Path, theme: str) -> Path:
    """The file of a figure in a theme: x.png, x-dark.png."""
    return stem.with_name(stem.name + ("" if theme == "light" else f"-{theme}") + ".png")


def figure_style(theme: Theme) -> Any:
    return {
        "font.family": "DejaVu Sans", "font.size": 7.5, "text.parse_math": False,
        "figure.facecolor": theme.paper, "axes.facecolor": theme.paper, "text.color": theme.ink,
        "axes.labelcolor": theme.ink, "axes.edgecolor": theme.muted, "axes.linewidth": 0.6,
        "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
        "xtick.color": theme.muted, "ytick.color": theme.muted, "xtick.major.size": 2.5,
        "ytick.major.size": 0, "grid.color": theme.grid, "grid.linewidth": 0.6,
    }  # fmt: skip
