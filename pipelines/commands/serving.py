"""`serve`, `promote` and `rollback`: a registry's champion and the endpoint that follows it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from nitrogen.pipelines.commands import completion
from nitrogen.pipelines.commands.output import JsonOption, note, say, say_json

ChampionRunOption = Annotated[
    str | None,
    typer.Option(
        "--run",
        help="Run folder or s3://bucket/run, to serve shipped:NAME too; the newest in runs/ that "
        "has a champion by default.",
        autocompletion=completion.runs,
    ),
]


def register(app: typer.Typer) -> None:
    app.command("serve", epilog="Example: nitrogen serve --run runs/demo --port 8000")(serve)
    app.command("promote", epilog="Example: nitrogen promote --run runs/demo --version 2")(promote)
    app.command("rollback", epilog="Example: nitrogen rollback --run runs/demo")(rollback)


def serve(
    run: ChampionRunOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    replicas: Annotated[
        int | None,
        typer.Option(min=1, help="Largest number of replicas; by default the recipe's."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Serve the champion of a run in the foreground until Ctrl-C; shipped weights without a run.

    Promoting or rolling back another version moves the running endpoint. With --json a line an
    event: starting, ready (with url, model, version), moved, refused.
    """
    from nitrogen.pipelines.foreground import serve_foreground
    from nitrogen.pipelines.remote_folder import fetched

    folder = fetched(run) if run is not None else None
    tell = _event if as_json else _line
    serve_foreground(folder, host=host, port=port, max_replicas=replicas, say=tell)


def _line(text: str, **_: Any) -> None:
    say(text)


def _event(text: str, **facts: Any) -> None:
    """One line of JSON; what is meant for people alone is left out."""
    if facts:
        say(json.dumps({**facts, "text": text}))


def promote(
    run: ChampionRunOption = None,
    version: Annotated[
        str | None, typer.Option(help="Version of the model; the newest by default.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a version the champion if it passes the gates of the run's recipe."""
    from nitrogen.pipelines.champions import promote_version

    with _changed(run) as folder:
        done = promote_version(folder, version)
    _tell(done, as_json)


def rollback(run: ChampionRunOption = None, as_json: JsonOption = False) -> None:
    """Make the previous champion the champion again; a second rollback undoes the first."""
    from nitrogen.pipelines.champions import roll_back

    with _changed(run) as folder:
        done = roll_back(folder)
    _tell(done, as_json)


@contextlib.contextmanager
def _changed(run: str | None) -> Iterator[Path | None]:
    """A run folder to change on this machine; what changed goes to its bucket, if it has one."""
    from nitrogen.pipelines.remote_folder import open_out

    if run is None:
        yield None
        return
    folder, mirror = open_out(run)
    with mirror.held(note) if mirror else contextlib.nullcontext():
        yield folder


def _tell(done: Any, as_json: bool) -> None:
    if as_json:
        say_json(
            {
                "name": done.model,
                "from_version": done.from_version,
                "to_version": done.to_version,
                "moved": done.moved,
                "gates": [result.reason for result in done.results],
            }
        )
        return
    before = f" (was version {done.from_version})" if done.from_version and done.moved else ""
    verb = "is now" if done.moved else "was already"
    say(f"champion of {done.model} {verb} version {done.to_version}{before}")
