"""`model show`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from nitrogen.pipelines.commands import completion
from nitrogen.pipelines.commands.output import JsonOption, say, say_json, say_table
from nitrogen.platform.errors import ConfigError

_MODEL = typer.Typer(
    no_args_is_help=True,
    help="Look at models.",
    rich_markup_mode=None,
    epilog="Example: nitrogen model show small",
)


def register(app: typer.Typer) -> None:
    _MODEL.command("show", epilog="Example: nitrogen model show --preset small")(show)
    app.add_typer(_MODEL, name="model")


def show(
    name: Annotated[
        str | None,
        typer.Argument(help="As --preset.", autocompletion=completion.presets),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Only this preset: tiny, small, base, large or xl.",
            autocompletion=completion.presets,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print parameters and GFLOPs a forward of the presets, as the article's table does."""
    from nitrogen.model.cost import model_table

    preset = preset or name
    rows = [row for row in model_table() if preset in (None, row["name"])]
    if not rows:
        known = ", ".join(str(row["name"]) for row in model_table())
        raise ConfigError(f"--preset must be one of {known}, got {preset}. Correct the name.")
    if as_json:
        say_json(rows)
        return
    say_table(*article_table(rows))
    say("FID and latency are measured, not known beforehand: nitrogen evaluate.")


def article_table(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """The article's columns, two rows a preset: all of it, and its narrowest width."""
    table = []
    for row in rows:
        parameters, image = _scaled(row["params"]), f"{row['image_size']} px"
        for label, gflops in (("full", "gflops"), ("adaptive, from", "gflops_narrowest")):
            table.append([f"{row['name']} {label}", None, None, row[gflops], parameters, image])
    return ["", "FID", "latency", "GFLOPs a forward", "parameters", "image"], table


def _scaled(count: float) -> str:
    return f"{count / 1e9:.2f} B" if count >= 1e9 else f"{count / 1e6:.2f} M"
