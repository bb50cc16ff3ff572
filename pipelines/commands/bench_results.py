"""`bench results`: pages, plots and README's block from the files of the other benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nitrogen.pipelines.commands.models import RunOption
from nitrogen.pipelines.commands.output import JsonOption, say, say_json

if TYPE_CHECKING:
    from nitrogen.pipelines.results.write import DrawWidths


def register(bench: typer.Typer) -> None:
    """Adds it to the group `bench`."""
    bench.command(
        "results",
        epilog="Example: nitrogen bench results bench/*.json --out docs/results",
    )(results)


def results(
    files: Annotated[
        list[Path], typer.Argument(help="JSON of frontier, attack, scaling or ablation.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the pages.")],
    run: RunOption = None,
    readme: Annotated[
        Path | None,
        typer.Option(help="Document whose part between the markers is written anew too."),
    ] = None,
    widths: Annotated[
        bool, typer.Option(help="Draw where compute went, by the student of the run.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Write tables, plots and verdicts of benchmark files, as Markdown."""
    from nitrogen.model.errors import ModelError
    from nitrogen.pipelines.results.write import write_results
    from nitrogen.platform.errors import ConfigError, StorageError

    try:
        written = write_results(files, out, readme, drawer(run) if widths else None)
    except ModelError:
        raise
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, RecursionError) as exc:
        raise ConfigError(
            f"FILE must be whole and of this version's benchmarks, got {type(exc).__name__}: "
            f"{str(exc)[:120]} in one of {', '.join(path.name for path in files)}. Run the "
            "benchmark again."
        ) from exc
    except OSError as exc:
        raise StorageError(
            f"--out must be a folder that can be written, got {out} ({exc.strerror}). "
            "Choose another path."
        ) from exc
    if as_json:
        say_json({"written": [str(path) for path in written]})
        return
    for path in written:
        say(str(path))


def drawer(run: str | None) -> DrawWidths:
    """Draws the figure of widths by the student of a run, or by the shipped one."""
    from nitrogen.pipelines.remote_folder import fetched
    from nitrogen.pipelines.results.width_map import WidthMap

    return WidthMap.of(fetched(run) if run is not None else None)
