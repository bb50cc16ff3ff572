"""Where compute went: pictures of the student beside the width of each region at every step."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nitrogen.model.generation import to_uint8
from nitrogen.model.pipeline import Pipeline
from nitrogen.model.policies import Policy, make_policy
from nitrogen.model.request import Finished, Request
from nitrogen.model.sampler import Sampler
from nitrogen.pipelines.bench.models import model_digest, weights_digest
from nitrogen.pipelines.bench.pareto_plot import DPI, WIDTH_PX
from nitrogen.pipelines.bench.plot_style import THEMES, Theme, figure_style, themed
from nitrogen.pipelines.bench.relays import relay_asked
from nitrogen.pipelines.bench.settings import SOLVER
from nitrogen.pipelines.results.files import BenchFile
from nitrogen.pipelines.trained_models import model_directory
from nitrogen.platform.errors import ConfigError

NUM_DRAWN, NUM_SHOWN = 64, 6  # the first seeds, and those of them from the cheapest to the dearest
TIER = "middle"
FALLBACK = {"budget": 0.5, "num_steps": 12, "served": True}  # of a file without tuned rows
# held, 1/4, 1/2, 3/4, full: one hue, so that lightness alone tells them apart.
RAMPS = {
    "light": ("#e4e7eb", "#fbd3b0", "#f2a25f", "#d55e00", "#7a3200"),
    "dark": ("#21262d", "#5a2a06", "#a34a02", "#ec7a1c", "#ffd3a8"),
}
NAMES_INCH, SHARE_INCH, HEAD_INCH, FOOT_INCH = 1.2, 0.45, 0.5, 0.26
AFTER_PICTURE, ROW = 1.2, 1.08  # in tiles
NAMES = ("held", "1/4", "1/2", "3/4", "full width")


@dataclass(frozen=True)
class WidthMap:
    """Draws the figure by one student; see `__call__`. sha256: of its weights; digest: of all that
    sampling reads, prices and relay included."""

    student: Pipeline
    sha256: str
    digest: str

    @classmethod
    def of(cls, run: Path | None) -> WidthMap:
        """The student of a run, or the shipped one. Raises ConfigError, DataError, WeightsError."""
        directory = model_directory(run)
        return cls(Pipeline.load(directory), weights_digest(directory), model_digest(directory))

    def __call__(self, file: BenchFile, stem: Path) -> list[Path]:
        """Writes the figure of the file's tuned setting, light and dark, 1,200 px wide.

        stem: the path without suffix. Raises ConfigError where the file's student is another one:
        its maps would not be those of the tables.
        """
        known = (file.content.get("models") or {}).get("student", {})
        same = known.get("digest", self.digest) == self.digest
        if known.get("sha256", self.sha256) != self.sha256 or not same:
            raise ConfigError(
                f"--run must hold the student that {file.path} was measured with, got another one. "
                "Name its run, or give --no-widths."
            )
        setting = tuned_setting(file.content)
        pictures = shown(drawn(self.student, setting))
        return [
            draw_widths(pictures, self.student, setting, themed(stem, theme), theme)
            for theme in THEMES
        ]


def tuned_setting(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The setting of ours at the middle budget."""
    for row in content["rows"]:
        if row["group"] == "ours" and row["setting"].get("tier") == TIER:
            found: Mapping[str, Any] = row["setting"]
            return found
    return FALLBACK


def drawn(student: Pipeline, setting: Mapping[str, Any]) -> list[Finished]:
    """NUM_DRAWN pictures, the classes in turn, seeds from 0."""
    steps, budget = int(setting["num_steps"]), setting["budget"]
    requests = [
        Request(seed % len(student.classes), seed, steps, 1.0, budget) for seed in range(NUM_DRAWN)
    ]
    sampler = Sampler(
        student.denoiser, policy_of(student, setting), predictor=student.predictor,
        solver_name=setting.get("solver", SOLVER),
        relay=relay_asked(student, setting),
    )  # fmt: skip
    with torch.no_grad():
        return sampler.run(requests)


def policy_of(student: Pipeline, setting: Mapping[str, Any]) -> Policy:
    """As the benchmark builds it: by the library's own price, by a price, or by equal shares."""
    dials = (setting.get("policy", "budget"), setting.get("threshold"), setting["budget"])
    if setting.get("served"):
        return student.policy(*dials, int(setting["num_steps"]))
    return make_policy(*dials, setting.get("price"))


def shown(finished: Sequence[Finished], num: int = NUM_SHOWN) -> list[tuple[int, Finished]]:
    """(seed, picture) at even ranks of their cost, from the cheapest to the dearest."""
    ordered = sorted(enumerate(finished), key=lambda pair: (pair[1].flops, pair[0]))
    ranks = np.linspace(0, len(ordered) - 1, min(num, len(ordered))).round().astype(int)
    return [ordered[rank] for rank in ranks]


def draw_widths(
    pictures: Sequence[tuple[int, Finished]],
    student: Pipeline,
    setting: Mapping[str, Any],
    path: Path,
    theme: str = "light",
) -> Path:
    """One row a picture: the picture, then the map of every step, then what it spent."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    look, steps = THEMES[theme], int(setting["num_steps"])
    width = WIDTH_PX / DPI
    tile = min(0.75, (width - NAMES_INCH - SHARE_INCH) / (steps + AFTER_PICTURE))
    height = HEAD_INCH + tile * ROW * len(pictures) + FOOT_INCH
    with matplotlib.rc_context(figure_style(look)):
        figure = Figure(figsize=(width, height), dpi=DPI)
        FigureCanvasAgg(figure)
        taken = NAMES_INCH + tile * (steps + AFTER_PICTURE) + SHARE_INCH
        sheet = Sheet(figure, tile, (width - taken) / 2, look, RAMPS[theme])
        sheet.legend()
        sigmas = pictures[0][1].sigmas
        sheet.write(sheet.at(0.5), HEAD_INCH - 0.12, "picture", look.muted)
        for step in range(steps):
            named = f"{float(sigmas[step]):.2g}"
            sheet.write(sheet.of_step(step + 0.5), HEAD_INCH - 0.12, named, look.muted)
        sheet.write(sheet.of_step(steps), HEAD_INCH - 0.12, "FLOPs", look.muted, "left")
        for row, (seed, one) in enumerate(pictures):
            sheet.row(row, one, student.classes[seed % len(student.classes)], seed)
        note = source(setting, pictures[0][1].late_from)
        sheet.write(width / 2, height - 0.14, note, look.muted, size=6.5)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", facecolor=look.paper)
    path.write_bytes(stream.getvalue())
    return path


def source(setting: Mapping[str, Any], late_from: int) -> str:
    """What is shown; late_from: the step from which on a relay's second network answers."""
    steps = setting["num_steps"]
    late = f"; the last {steps - late_from} are the full model's" if late_from < steps else ""
    return (
        f"seeds 0 to {NUM_DRAWN - 1} in order of their cost, the cheapest to the dearest; budget "
        f"{setting['budget']:.2f} of {steps} steps; columns: sigma of a step{late}"
    )


@dataclass(frozen=True)
class Sheet:
    """A figure laid out from its upper left corner, in inches; tile: side of a map and its gap;
    margin: left of all."""

    figure: Any
    tile: float
    margin: float
    theme: Theme
    ramp: Sequence[str]

    def at(self, tiles: float) -> float:
        return self.margin + NAMES_INCH + tiles * self.tile

    def of_step(self, step: float) -> float:
        """Where the map of a step begins."""
        return self.at(AFTER_PICTURE + step)

    def row(self, row: int, one: Finished, name: str, seed: int) -> None:
        y = HEAD_INCH + row * ROW * self.tile
        middle = y + 0.46 * self.tile
        kind, _, style = name.partition("/")
        detail = ", ".join(part for part in (style, f"seed {seed}") if part)
        self.write(self.at(0) - 0.08, middle - 0.07, kind, self.theme.ink, "right")
        self.write(self.at(0) - 0.08, middle + 0.07, detail, self.theme.muted, "right", 6)
        self.image(self.at(0), y, to_uint8(one.x_0).numpy())
        for step in range(one.max_steps):
            widths = one.widths[step] if step < one.num_steps else torch.zeros_like(one.widths[0])
            self.map(self.of_step(step), y, widths.numpy())
        share = f"{100 * one.flops / one.full_flops:.0f} %"
        self.write(self.of_step(one.max_steps), middle, share, self.theme.ink, "left")

    def map(self, x: float, y: float, widths: np.ndarray) -> None:
        """widths: [rh, rw] quarters; lines of the page's colour between the regions."""
        from matplotlib.colors import to_rgb

        axes = self.image(x, y, np.array([to_rgb(colour) for colour in self.ramp])[widths])
        rows, columns = widths.shape
        style = {"color": self.theme.paper, "linewidth": 0.7}
        axes.hlines(np.arange(1, rows) - 0.5, -0.5, columns - 0.5, **style)
        axes.vlines(np.arange(1, columns) - 0.5, -0.5, rows - 0.5, **style)

    def image(self, x: float, y: float, pixels: np.ndarray) -> Any:
        width, height = self.figure.get_size_inches()
        side = 0.92 * self.tile
        axes = self.figure.add_axes(
            (x / width, 1 - (y + side) / height, side / width, side / height)
        )
        axes.imshow(pixels, interpolation="nearest")
        axes.set_axis_off()
        return axes

    def write(
        self, x: float, y: float, text: str, colour: str, align: str = "center", size: float = 7
    ) -> None:
        width, height = self.figure.get_size_inches()
        self.figure.text(
            x / width, 1 - y / height, text, color=colour, ha=align, va="center", fontsize=size
        )

    def legend(self) -> None:
        """What the colours mean, above the maps."""
        from matplotlib.patches import Rectangle

        width, height = self.figure.get_size_inches()
        x, y, side = self.of_step(0), 0.16, 0.14
        for colour, name in zip(self.ramp, NAMES, strict=True):
            corner = (x / width, 1 - (y + side / 2) / height)
            square = Rectangle(corner, side / width, side / height, color=colour, linewidth=0)
            self.figure.add_artist(square)
            self.write(x + side + 0.06, y, name, self.theme.ink, "left")
            x += side + 0.22 + 0.062 * len(name)
