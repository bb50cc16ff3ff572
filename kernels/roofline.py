"""What an operator should take on a GPU that nobody here has: counted bytes and FLOPs over peaks.

A prediction, always labelled as one: time = launches * LAUNCH_S + max(bytes / bandwidth,
FLOPs / rate). It is a lower bound for a perfect kernel, not a measurement. `--measured` fills the
column beside it from the lines of `bench kernels --device cuda --json`. FLOPs count a multiply and
an add as two.
"""

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NUM_WIDTHS, MAX_KEYS = 4, 256
LAUNCH_S = 3e-6  # assumed; start of a kernel behind others in a stream, settled by a measurement


@dataclass(frozen=True)
class Card:
    """Peak rates per second of one GPU, and the data sheet that states them."""

    name: str
    bytes_s: float
    half_flops_s: float  # bf16 and fp16 on matrix units, dense
    float_flops_s: float  # fp32 without tf32
    source: str


CARDS = (
    Card("A100", 2.039e12, 312e12, 19.5e12, "NVIDIA A100 80GB SXM data sheet, 2021"),
    Card("H100", 3.35e12, 989.4e12, 66.9e12, "NVIDIA H100 SXM data sheet and architecture, 2022"),
    Card("MI300X", 5.3e12, 1307.4e12, 163.4e12, "AMD Instinct MI300X data sheet, 2023"),
)


@dataclass(frozen=True)
class Shape:
    """One call of an operator on b samples of side x side rows, some of them active.

    active: share of rows that are computed; width: share of the hidden layer they run at.
    """

    op: str
    b: int
    side: int
    channels: int
    active: float = 1.0
    width: float = 1.0
    ratio: int = 4  # E / C

    @property
    def rows(self) -> int:
        return self.b * self.side * self.side

    @property
    def computed(self) -> int:
        return round(self.rows * self.active)


@dataclass(frozen=True)
class Work:
    """What one call moves and multiplies at least, with every operand read once."""

    bytes: float
    flops: float
    launches: int = 1
    matrix: bool = False  # on matrix units in bf16 and fp16


def work(shape: Shape, size: int) -> Work:
    """size: bytes of a stored number. Raises KeyError for an operator without a count."""
    return COUNTS[shape.op](shape, size)


def row_mlp(s: Shape, size: int) -> Work:
    c, hidden = s.channels, s.ratio * s.channels * s.width
    moved = 2 * s.computed * c + 2 * hidden * c
    wide = c > 256  # the hidden layer then goes out and comes back
    moved += 2 * s.computed * hidden if wide else 0
    index = 8 * s.computed
    return Work(size * moved + index, 4 * s.computed * c * hidden, 2 if wide else 1, matrix=True)


def row_linear(s: Shape, size: int) -> Work:
    c = s.channels
    moved = 2 * s.computed * c + c * c
    return Work(size * moved + 8 * s.computed, 2 * s.computed * c * c, matrix=True)


def row_qkv(s: Shape, size: int) -> Work:
    c = s.channels
    moved = 4 * s.computed * c + 3 * c * c + 2 * s.b * c
    return Work(size * moved + 8 * s.computed, 6 * s.computed * c * c, matrix=True)


def row_attention(s: Shape, size: int) -> Work:
    c, keys = s.channels, min(s.side * s.side, MAX_KEYS)
    pooling = 2 * s.rows * c + 2 * s.b * keys * c
    attending = 2 * s.computed * c + 2 * s.b * keys * c
    flops = 4 * s.computed * keys * c
    return Work(size * (pooling + attending) + 8 * s.computed, flops, 2, matrix=True)


def norm_modulate(s: Shape, size: int) -> Work:
    moved = 2 * s.computed * s.channels + 2 * s.b * s.channels
    return Work(size * moved + 8 * s.computed, 6 * s.computed * s.channels)


def depthwise(s: Shape, size: int) -> Work:
    """Neighbours that are not active are read as well: at most the whole map."""
    read = min(s.rows, 9 * s.computed)
    moved = (read + s.computed) * s.channels + 9 * s.channels + 2 * s.b * s.channels
    return Work(size * moved + 8 * s.computed, 50 * s.computed * s.channels)


def gated_add(s: Shape, size: int) -> Work:
    return Work(size * (3 * s.rows * s.channels + s.b * s.channels), 2 * s.rows * s.channels)


def region_stats(s: Shape, size: int) -> Work:
    """side: px of the picture; channels: of the picture; regions of 8 px."""
    regions = s.b * (s.side // 8) ** 2
    moved = size * 2 * s.rows * s.channels + 4 * regions * (s.channels + 2)
    return Work(moved, 6 * s.rows * s.channels)


def ode_exit(s: Shape, size: int) -> Work:
    return Work(size * 4 * s.rows * s.channels + s.b * (s.side // 8) ** 2, 6 * s.rows * s.channels)


def plan_rows(s: Shape, size: int) -> Work:
    """Counts, scans and places int64 indices; the widths of regions stay in the cache."""
    return Work(8 * s.rows, 10 * s.rows, 3)


COUNTS = {
    f.__name__: f
    for f in (
        row_mlp, row_linear, row_qkv, row_attention, norm_modulate, depthwise, gated_add,
        region_stats, ode_exit, plan_rows,
    )
}  # fmt: skip


def predict_s(shape: Shape, card: Card, size: int) -> float:
    """Predicted seconds of one call."""
    needed = work(shape, size)
    rate = card.half_flops_s if needed.matrix and size == 2 else card.float_flops_s
    return needed.launches * LAUNCH_S + max(needed.bytes / card.bytes_s, needed.flops / rate)


SHAPES = (
    Shape("row_mlp", 8, 32, 64), Shape("row_mlp", 8, 32, 64, 0.5),
    Shape("row_mlp", 8, 32, 64, 1, 0.25),
    Shape("row_mlp", 64, 32, 128), Shape("row_mlp", 64, 32, 256),
    Shape("row_mlp", 64, 32, 256, 0.5, 0.5), Shape("row_mlp", 64, 16, 1536),
    Shape("row_mlp", 64, 16, 1536, 0.5, 0.5), Shape("row_linear", 64, 16, 512),
    Shape("row_qkv", 64, 16, 512), Shape("row_qkv", 64, 16, 512, 0.5),
    Shape("row_attention", 64, 16, 512), Shape("row_attention", 16, 64, 512),
    Shape("norm_modulate", 64, 32, 256), Shape("depthwise", 64, 32, 256),
    Shape("depthwise", 64, 32, 256, 0.25), Shape("gated_add", 64, 32, 256),
    Shape("region_stats", 64, 256, 3), Shape("ode_exit", 64, 256, 3), Shape("plan_rows", 64, 32, 1),
)  # fmt: skip


def predictions(size: int = 2) -> Iterator[dict[str, Any]]:
    """One dict a shape and card. measured_us stays None until a GPU fills it."""
    for shape in SHAPES:
        needed = work(shape, size)
        for card in CARDS:
            yield {
                "op": shape.op,
                "shape": describe(shape),
                "card": card.name,
                "kind": "predicted",
                "bytes": needed.bytes,
                "flops": needed.flops,
                "bound": bound(needed, card, size),
                "predicted_us": round(predict_s(shape, card, size) * 1e6, 2),
                "measured_us": None,
                "source": card.source,
            }


def bound(needed: Work, card: Card, size: int) -> str:
    """What the prediction says limits it: memory, arithmetic or launch."""
    rate = card.half_flops_s if needed.matrix and size == 2 else card.float_flops_s
    memory, arithmetic = needed.bytes / card.bytes_s, needed.flops / rate
    if needed.launches * LAUNCH_S > max(memory, arithmetic):
        return "launch"
    return "memory" if memory > arithmetic else "arithmetic"


def describe(s: Shape) -> str:
    parts = f"{s.b}x{s.side}x{s.side}x{s.channels}"
    parts += f" rows {s.active:g}" if s.active < 1 else ""
    return parts + (f" width {s.width:g}" if s.width < 1 else "")


def table(
    size: int = 2,
    shapes: Iterable[Shape] = SHAPES,
    measured: Mapping[Shape, str] | None = None,  # of one card; empty where there is no GPU
) -> str:
    """Markdown: predicted microseconds a card, and beside them what was measured."""
    names, cells = [card.name for card in CARDS], measured or {}
    lines = [
        "| op | shape (b x h x w x C) | "
        + " | ".join(f"{n} predicted" for n in names)
        + " | bound (H100) | measured |",
        "|---|---|" + "---:|" * len(names) + "---|---|",
    ]
    for shape in shapes:
        times = [f"{predict_s(shape, card, size) * 1e6:.1f}" for card in CARDS]
        limit = bound(work(shape, size), CARDS[1], size)
        row = [shape.op, describe(shape), *times, limit, cells.get(shape, "")]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="nitrogen.kernels.roofline", description=__doc__)
    parser.add_argument("--json", action="store_true", help="JSON lines instead of the table")
    parser.add_argument(
        "--measured", type=Path, metavar="FILE",
        help="lines of `nitrogen bench kernels --device cuda --json`: fills the measured column",
    )  # fmt: skip
    parser.add_argument(
        "--write", type=Path, metavar="DOCUMENT", help="put the table between its markers there"
    )
    options = parser.parse_args()
    if options.json:
        for line in predictions():
            print(json.dumps(line))
    else:
        try:
            show(options.measured, options.write)
        except (ValueError, OSError) as error:  # one sentence: what was given, and what to do
            parser.error(str(error))


def show(lines: Path | None, document: Path | None) -> None:
    """Prints the table, filled from `lines`, and puts it into `document`, if they are given."""
    from nitrogen.kernels.measured import filled, measured, read_lines, write

    text = table() if lines is None else filled(SHAPES, measured(read_lines(lines), SHAPES))
    print(text)
    if document is not None:
        write(document, text)


if __name__ == "__main__":
    main()
