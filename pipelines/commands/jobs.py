"""`submit`, and `status`, `logs`, `stop` for runs on this machine and jobs on a cluster."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from nitrogen.pipelines.commands import completion
from nitrogen.pipelines.commands.output import JsonOption, say, say_json, say_table
from nitrogen.pipelines.commands.running import RecipeArgument, SetOption

TargetArgument = Annotated[
    str | None,
    typer.Argument(
        help="Run folder, or with --address the job's name. Default: newest in runs/.",
        autocompletion=completion.runs,
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        envvar="NITROGEN_ADDRESS",
        help="Dashboard of the cluster, for example http://head:8265.",
    ),
]


def register(app: typer.Typer) -> None:
    app.command("submit", epilog="Example: nitrogen submit demo --address http://head:8265")(submit)
    app.command("status", epilog="Example: nitrogen status runs/demo --json")(status)
    app.command("logs", epilog="Example: nitrogen logs runs/demo -f")(logs)
    app.command("stop", epilog="Example: nitrogen stop runs/demo")(stop)


def submit(
    recipe: RecipeArgument,
    address: Annotated[
        str, typer.Option("--address", envvar="NITROGEN_ADDRESS", help="Dashboard of the cluster.")
    ],
    out: Annotated[
        str,
        typer.Option("--out", "-o", help="s3://bucket/run, or a folder that all nodes share."),
    ] = "",
    overrides: SetOption = None,
    wheel: Annotated[
        Path | None, typer.Option(help="Wheel to ship; built from the checkout by default.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Submit again even if this recipe has succeeded.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a recipe as a Ray job on a cluster. Submitting the same recipe again is the same run."""
    from nitrogen.pipelines.submission import submit_recipe

    submitted = submit_recipe(
        recipe, address, out or None, overrides or [], wheel=wheel, force=force
    )
    if as_json:
        say_json(submitted)
        return
    known = "" if submitted["created"] else " (submitted before)"
    say(f"{submitted['job']} {submitted['state']}{known}, run folder {submitted['out']}")
    say(f"follow it with: nitrogen logs {submitted['job']} --address {address} -f")


def status(
    target: TargetArgument = None, address: AddressOption = None, as_json: JsonOption = False
) -> None:
    """Show how far a run is; with --address and no name, all jobs of the cluster."""
    if address is not None and target is None:
        _list_jobs(address, as_json)
        return
    if _is_job(target, address):
        from nitrogen.pipelines.submission import job_status

        found = job_status(str(target), str(address))
        if as_json:
            say_json(found)
        else:
            say("  ".join(f"{key} {value}" for key, value in found.items() if value is not None))
        return
    from nitrogen.pipelines.run_control import run_status

    found = run_status(_folder(target))
    if as_json:
        say_json(found)
        return
    who = f" (process {found['pid']})" if found["pid"] else ""
    say(f"{found['run']}: {found['state']}{who}")
    rows = [(name, _state(row), row["seconds"]) for name, row in found["steps"].items()]
    if rows:
        say_table(("step", "state", "seconds"), rows)
    if found["progress"]:
        _say_progress(found["progress"])
    if found["error"]:
        say(f"error: {found['error']}")


def _state(row: dict[str, Any]) -> str:
    """What a cached step took when it ran belongs to its state: now it took nothing."""
    if row["state"] != "cached" or row["took_s"] is None:
        return str(row["state"])
    return f"cached (took {row['took_s']:.0f} s)"


def _list_jobs(address: str, as_json: bool) -> None:
    from nitrogen.pipelines.submission import all_jobs

    found = all_jobs(address)
    if as_json:
        say_json(found)
    else:
        rows = [(row["job"], row["recipe"], row["state"]) for row in found]
        say_table(("job", "recipe", "state"), rows)


def _say_progress(progress: dict[str, Any]) -> None:
    from nitrogen.pipelines.progress_state import duration, shown_metrics

    parts = [f"{progress['step']} for {duration(progress['seconds'])}"]
    if progress["training_step"] is not None:
        parts.append(f"step {progress['training_step']}/{progress['training_steps'] or '?'}")
    parts += [f"{name} {value:.4g}" for name, value in shown_metrics(progress["metrics"])]
    if progress["seconds_left"] is not None:
        parts.append(f"{duration(progress['seconds_left'])} left")
    say("  ".join(parts))


def logs(
    target: TargetArgument = None,
    address: AddressOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it ends.")] = False,
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", min=0, help="Only the last lines.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the log of a run; with --json each line as {"line": TEXT}."""
    if _is_job(target, address):
        from nitrogen.pipelines.submission import job_logs

        lines = job_logs(str(target), str(address), follow=follow, tail=tail)
    else:
        from nitrogen.pipelines.run_control import follow_log

        lines = follow_log(_folder(target), follow=follow, tail=tail)
    for line in lines:
        say(json.dumps({"line": line}) if as_json else line)


def stop(
    target: TargetArgument = None, address: AddressOption = None, as_json: JsonOption = False
) -> None:
    """Stop a run cleanly; running it again goes on where it stopped."""
    started = time.monotonic()
    if _is_job(target, address):
        from nitrogen.pipelines.submission import stop_job

        result = stop_job(str(target), str(address))
    else:
        from nitrogen.pipelines.run_control import stop_run

        folder = _folder(target)
        result = {"run": str(folder), "pid": stop_run(folder), "state": "stopped"}
    if as_json:
        say_json({**result, "seconds": round(time.monotonic() - started, 1)})
    else:
        say("  ".join(f"{key} {value}" for key, value in result.items()))


def _is_job(target: str | None, address: str | None) -> bool:
    if address is None or target is None:
        return False
    return not (target.startswith("s3://") or Path(target).is_dir())


def _folder(target: str | None) -> Path:
    from nitrogen.pipelines.remote_folder import fetched
    from nitrogen.platform.errors import ConfigError

    if target is not None:
        return fetched(target)
    found = [path.parent for path in Path("runs").glob("*/journal.jsonl")]
    if not found:
        raise ConfigError(
            "RUN must be given when runs/ holds no run folder. Give the --out of `nitrogen run`."
        )
    return max(found, key=lambda path: (path / "journal.jsonl").stat().st_mtime)
