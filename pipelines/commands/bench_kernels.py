"""`bench kernels` and `bench step`: times of the operators and of a whole step."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Any

import typer

from nitrogen.pipelines.commands import completion
from nitrogen.pipelines.commands.output import say, say_table

DeviceOption = Annotated[str, typer.Option(help="cpu or cuda (a ROCm build says cuda too).")]
LinesOption = Annotated[bool, typer.Option("--json", help="Print JSON lines.")]
RepeatsOption = Annotated[int, typer.Option(min=3, help="Timed calls of each.")]
COLUMNS = ("op", "provider", "case", "shape", "p20", "p50", "p80", "unit")
FIGURES = (
    "gflops_per_s", "rate_over_gemms", "of_dense", "bound", "within", "of_network", "of_roofline",
    "of_staying", "rows_share",
    "width_share", "flops_share", "planned", "relative_rms", "num_steps",
)  # fmt: skip


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
    channels: Annotated[
        list[int] | None,
        typer.Option(
            min=1, max=4096, help="Only row_mlp, on a processor, of so many; several times."
        ),
    ] = None,
    rows: Annotated[
        list[int] | None,
        typer.Option(min=1, max=1 << 22, help="Only row_mlp, of so many rows; several times."),
    ] = None,
) -> None:
    """Time every provider of every operator, in one run; what is wrong is shown without a speed."""
    from nitrogen.pipelines.bench.kernels import run
    from nitrogen.platform.errors import ConfigError

    if device == "cuda" and (channels or rows):
        raise ConfigError(
            "--channels and --rows must be left out with --device cuda, whose shapes are those of "
            "the predictions. Leave them out."
        )
    show(run(checked(device), repeats, quick, tune, channels or (), rows or ()), json_)


def step(
    preset: Annotated[
        str, typer.Option(help="Size of the network.", autocompletion=completion.presets)
    ] = "small",
    size: Annotated[int, typer.Option(min=8, max=4096, help="Pixels along a side.")] = 32,
    batch: Annotated[list[int] | None, typer.Option(min=1, max=1024, help="Several times.")] = None,
    device: DeviceOption = "cpu",
    json_: LinesOption = False,
    repeats: RepeatsOption = 60,
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            help="A trained student in place of random weights: run folder, shipped, shipped:NAME.",
            autocompletion=completion.runs,
        ),
    ] = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="The dense network by torch.compile too; minutes.")
    ] = False,
    fewer_bits: Annotated[
        bool, typer.Option("--fewer-bits", help="The network in bf16 and in int8 too.")
    ] = False,
    leaving: Annotated[
        bool,
        typer.Option("--leaving", help="Whole batches with exits too: pictures leave, or stay."),
    ] = False,
) -> None:
    """Time a whole step over all rows, half of them and under a budget against the plain dense
    network; the bounds are 1.08 and 0.58 of it."""
    from nitrogen.pipelines.bench import step as bench
    from nitrogen.pipelines.bench.leaving import run as run_leaving

    device = checked(device)
    networks = chosen(run, preset, device)
    backend = "inductor" if compiled else None
    batches = tuple(batch or (1, 8))
    records = [bench.run(networks, size, batches, device, repeats, backend, fewer_bits)]
    if leaving:
        records += [run_leaving(networks, one, repeats) for one in batches]
    show(chain.from_iterable(records), json_)


def chosen(run: str | None, preset: str, device: str) -> Any:
    """The networks of `bench step`."""
    from nitrogen.pipelines.bench.step_networks import trained, untrained
    from nitrogen.pipelines.remote_folder import fetched
    from nitrogen.pipelines.trained_models import model_directory

    if run is None:
        return untrained(preset, device)
    return trained(model_directory(fetched(run)), device)


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
    columns = (*COLUMNS, *(name for name in FIGURES if any(name in r for r in kept)))
    rows = [["x".join(map(str, r[c])) if c == "shape" else r.get(c) for c in columns] for r in kept]
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        say_table(columns, rows)
        for line in verdict(kept):
            say(line)
        say(f"{kept[0]['hardware']}, {kept[0]['threads']} threads, commit {kept[0]['commit']}")
    if any(r.get("failed") for r in kept):
        raise typer.Exit(1)


def verdict(records: list[dict[str, Any]]) -> Iterator[str]:
    """How many are within their bound of the dense time, and each that is not."""
    bounded = [r for r in records if "bound" in r]
    outside = [r for r in bounded if not r["within"]]
    if bounded:
        num_within = len(bounded) - len(outside)
        yield f"{num_within} of {len(bounded)} within their bound of the dense time"
    for r in outside:
        low, high = r["of_dense_interval"]
        shape = "x".join(map(str, r["shape"]))
        yield (
            f"outside: {r['op']} {shape} {r['provider']} {r['case']} takes {r['of_dense']:.3f} "
            f"({low:.3f} to {high:.3f}), at most {r['bound']:g}"
        )
