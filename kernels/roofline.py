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

from nitrogen.kernels.counts import Shape, Work, work

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
