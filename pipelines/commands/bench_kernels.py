"""`bench kernels` and `bench step`: times of the operators and of a whole step."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from nitrogen.pipelines.commands import completion
from nitrogen.pipelines.commands.output import say, say_table

DeviceOption = Annotated[str, typer.Option(help="cpu or cuda (a ROCm build says cuda too).")]
LinesOption = Annotated[bool, typer.Option("--json", help="Print JSON lines.")]
RepeatsOption = Annotated[int, typer.Option(min=3, help="Timed calls of each.")]
COLUMNS = ("op", "provider", "case", "shape", "p20", "p50", "p80", "unit")
FIGURES = ("gflops_per_s", "rate_over_gemms", "of_dense", "bound", "kept", "of_roofline")


def register(bench: typer.Typer) -> None:
    """Adds both to the group `bench`."""
    bench.command("kernels", epilog="Example: nitrogen bench kernels --device cpu --json")(kernels)
    bench.command("step", epilog="Example: nitrogen bench step --batch 1 --batch 8")(step)


def kernels(
    device: DeviceOption = "cpu",
    json_: LinesOption = False,
    repeats: RepeatsOption = 15,
    quick: Annotated[bool, typer.Option("--quick", help="One small shape.")] = False,
    tune: Annotated[
        bool, typer.Option("--tune", help="On a GPU: every candidate of the tuning table too.")
    ] = False,
) -> None:
    """Time every provider of every operator, in one run; what is wrong is shown without a speed."""
    from nitrogen.pipelines.bench.kernels import run

    show(run(checked(device), repeats, quick, tune), json_)


def step(
    preset: Annotated[
        str, typer.Option(help="Size of the network.", autocompletion=completion.presets)
    ] = "small",
    size: Annotated[int, typer.Option(min=8, help="Pixels along a side.")] = 32,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="Several times.")] = None,
    device: DeviceOption = "cpu",
    json_: LinesOption = False,
    repeats: RepeatsOption = 60,
    compiled: Annotated[
        bool, typer.Option("--compile", help="The dense network by torch.compile too; minutes.")
    ] = False,
) -> None:
    """Time a whole step over all rows and half of them against the plain dense network."""
    from nitrogen.pipelines.bench.step import run

    backend = "inductor" if compiled else None
    show(run(preset, size, tuple(batch or (1, 8)), checked(device), repeats, backend), json_)


def checked(device: str) -> str:
    import torch

    from nitrogen.platform.errors import ConfigError

    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise ConfigError(
            f"--device must be cpu, or cuda where torch sees a GPU, got {device}. Use --device cpu."
        )
    return device


def show(records: Iterator[dict[str, Any]], as_json: bool) -> None:
    """JSON lines as they are measured and the table beside them on stderr, or the table alone."""
    kept = []
    for record in records:
        if as_json:
            say(json.dumps(record))
        kept.append(record)
    rows = [
        ["x".join(map(str, r[c])) if c == "shape" else r.get(c) for c in (*COLUMNS, *FIGURES)]
        for r in kept
    ]
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        say_table((*COLUMNS, *FIGURES), rows)
        say(f"{kept[0]['hardware']}, {kept[0]['threads']} threads, commit {kept[0]['commit']}")
    if any(r.get("failed") for r in kept):
        raise typer.Exit(1)
