"""`run`, and the commands that run a recipe up to one step: train, distill, sweep and so on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nitrogen.pipelines.commands import completion
from nitrogen.pipelines.commands.output import JsonOption, note, say, say_json, say_table

RecipeArgument = Annotated[
    str,
    typer.Argument(
        help="Recipe file, or the name of a shipped one.", autocompletion=completion.recipes
    ),
]
OutOption = Annotated[
    str | None,
    typer.Option("--out", "-o", help="Run folder, or s3://bucket/run; runs/RECIPE by default."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-s", help="Override a value, such as distill.student.gating_penalty=0.3."
    ),
]


def register(app: typer.Typer) -> None:
    app.command("run", epilog="Example: nitrogen run demo --out runs/demo --set seed=1")(run)
    for name, step, text in (
        ("train", "pretrain", "Train the teacher of a recipe (and what it needs)."),
        ("distill", "distill", "Distil the adaptive student of a recipe (and what it needs)."),
        ("sweep", "sweep", "Sweep thresholds and penalties for the quality-compute front."),
        ("evaluate", "evaluate", "Measure teacher and student on held-out pictures and seeds."),
        ("report", "report", "Write the HTML report of a recipe's run."),
    ):
        example = f"Example: nitrogen {name} demo --out runs/demo"
        app.command(name, help=text, epilog=example)(_single(step))


def run(
    recipe: RecipeArgument,
    out: OutOption = None,
    overrides: SetOption = None,
    until: Annotated[
        str | None,
        typer.Option("--until", help="Last step to run.", autocompletion=completion.steps),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            "--only", help="This step and what it needs.", autocompletion=completion.steps
        ),
    ] = None,
    again: Annotated[
        str | None,
        typer.Option(
            "--from", help="Run this step and all after it again.", autocompletion=completion.steps
        ),
    ] = None,
    force: Annotated[
        list[str] | None,
        typer.Option(
            "--force", help="Run this step again (repeatable).", autocompletion=completion.steps
        ),
    ] = None,
    adopt: Annotated[
        str | None,
        typer.Option(
            "--adopt",
            help="RUN or RUN:STEP,STEP: take over results of an older run folder where only code "
            "changed, or of the named steps whatever changed.",
            autocompletion=completion.runs,
        ),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what would run and why; run nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a recipe: prepare, pretrain, distill, sweep, evaluate, promote, serve check, report.

    What is done is reused, what was cut off goes on. The last line printed is the path of
    summary.json.
    """
    from nitrogen.pipelines.plan import Selection

    selection = Selection(until, only, again, tuple(force or ()))
    _execute(recipe, out, overrides or [], selection, adopt, plan=plan, as_json=as_json)


def _single(step: str) -> Any:
    def command(
        recipe: RecipeArgument = "demo",
        out: OutOption = None,
        overrides: SetOption = None,
        force: Annotated[bool, typer.Option("--force", help="Run it again if done.")] = False,
        as_json: JsonOption = False,
    ) -> None:
        from nitrogen.pipelines.plan import Selection

        selection = Selection(only=step, force=(step,) if force else ())
        _execute(recipe, out, overrides or [], selection, None, plan=False, as_json=as_json)

    return command


def _execute(
    name: str,
    out: str | None,
    overrides: list[str],
    selection: Any,
    adopt: str | None,
    *,
    plan: bool,
    as_json: bool,
) -> None:
    from nitrogen.pipelines.adoption import parse_adoption
    from nitrogen.pipelines.recipe import load_recipe
    from nitrogen.pipelines.remote_folder import fetched, open_out

    recipe = load_recipe(name, overrides).recipe
    out = out or f"runs/{recipe.name}"
    if plan:
        _print_plan(recipe, fetched(out), selection, as_json=as_json)
        return
    folder, mirror = open_out(out)
    adoption = parse_adoption(adopt, folder) if adopt else None
    from nitrogen.pipelines.interrupts import Interrupted
    from nitrogen.pipelines.runner import run_recipe

    try:
        result = run_recipe(recipe, out, selection=selection, adoption=adoption)
    except Interrupted as stop:
        note(f"{stop}. Run the same command again to go on.")
        raise typer.Exit(stop.exit_code) from None
    from nitrogen.pipelines.summary import closing_lines, read_summary

    summary = read_summary(folder)
    if as_json:
        say_json(summary)
        return
    for line in closing_lines(summary, folder):
        say(line)
    say(mirror.uri_of(result.summary) if mirror else str(result.summary))


def _print_plan(recipe: Any, folder: Path, selection: Any, *, as_json: bool) -> None:
    from nitrogen.pipelines.plan import plan, total_seconds
    from nitrogen.pipelines.progress_state import duration
    from nitrogen.pipelines.run_folder import RunFolder

    rows = plan(recipe, RunFolder(folder), selection)
    total = total_seconds(rows)
    if as_json:
        say_json(
            {
                "recipe": recipe.name,
                "out": str(folder),
                "steps": [row.row() for row in rows],
                "estimated_seconds": total,
            }
        )
        return
    say_table(
        ("step", "state", "time", "key", "why"),
        [
            (
                row.step,
                row.state,
                "-" if row.state == "cached" else _time(row.seconds),
                row.key[:12] or "-",
                "; ".join(row.why[:3]),
            )
            for row in rows
        ],
    )
    known = all(row.seconds is not None for row in rows)
    if total is not None:
        say(f"{'about' if known else 'at least'} {duration(total)} in {folder}")


def _time(seconds: float | None) -> str:
    from nitrogen.pipelines.progress_state import duration

    return "unknown" if seconds is None else f"~{duration(seconds)}"
