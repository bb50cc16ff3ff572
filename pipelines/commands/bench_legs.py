"""`bench legs`: at which noise level the full model is to take over from a strided student."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from nitrogen.pipelines.commands.bench_files import (
    DataOption,
    OutOption,
    about,
    command,
    folder,
    resumable,
    write,
)
from nitrogen.pipelines.commands.models import RunOption
from nitrogen.pipelines.commands.output import JsonOption, note, say, say_json, say_table

STEPS, STRIDES = (5, 6, 8, 10), (1, 1)


def register(bench: typer.Typer) -> None:
    """Adds it to the group `bench`."""
    bench.command(
        "legs", epilog="Example: nitrogen bench legs --run runs/emoji --out bench/legs.json"
    )(legs)


def legs(
    out: OutOption,
    run: RunOption = None,
    data: DataOption = None,
    steps: Annotated[
        list[int] | None,
        typer.Option(min=2, max=1000, help="Steps of a run; several times. 5, 6, 8 and 10."),
    ] = None,
    stride: Annotated[
        list[int] | None,
        typer.Option(min=1, max=4, help="Quarters of a stride's width; once for each. 1 and 1."),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=4, max=100_000, help="Searched on; as many others are reported on.")
    ] = 64,
    as_json: JsonOption = False,
) -> None:
    """Search a relay's legs for a recipe's distill.relay, beside the full model alone."""
    from nitrogen.pipelines.bench.leg_search import run_leg_search
    from nitrogen.pipelines.bench.models import load_models
    from nitrogen.pipelines.metrics.features import FeatureNet

    models = load_models(folder(run), (), data)
    asked = sorted(set(steps or STEPS))
    strides = tuple(stride or STRIDES)
    with resumable(out) as rows:
        found = run_leg_search(models, rows, FeatureNet(), note, asked, strides, seeds)
    options: list[tuple[str, Any]] = [("--data", data), *(("--steps", n) for n in steps or ())]
    options += [*(("--stride", quarters) for quarters in stride or ()), ("--seeds", seeds)]
    result = about() | found | {"command": command("legs", out, run, False, options)}
    write(out, result)
    if as_json:
        say_json(result)
        return
    say_table(
        ("steps", "strides, sigma, sigma_min, rho", "error", "forwards", "as near as forwards"),
        [
            (row["num_steps"], str(result["relay"][str(row["num_steps"])]), row["error"],
             row["forwards"], row["worth"] or "-")
            for row in result["rows"]
        ],
    )  # fmt: skip
    say(str(out))
