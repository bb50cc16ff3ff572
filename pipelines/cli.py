"""The command line `nitrogen`: the groups of commands, and how a failure becomes an exit code."""

from __future__ import annotations

import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

import typer

from nitrogen.pipelines.commands import (
    bench,
    configuration,
    data,
    jobs,
    models,
    presets,
    running,
    serving,
)
from nitrogen.pipelines.masking import mask_secrets
from nitrogen.platform.errors import NitrogenError

UNEXPECTED = 70

app = typer.Typer(
    name="nitrogen",
    help="Diffusion that spends compute where the picture needs it: train, sweep, promote, serve.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="Exit codes: docs/cli.md. Start with: nitrogen run demo --plan",
)
running.register(app)
jobs.register(app)
data.register(app)
models.register(app)
presets.register(app)
serving.register(app)
configuration.register(app)
bench.register(app)


def main(arguments: list[str] | None = None) -> None:
    """Entry point; ends the process with the exit code of docs/cli.md."""
    sys.exit(invoke(sys.argv[1:] if arguments is None else arguments))


def invoke(arguments: list[str]) -> int:
    """Run one command line and return its exit code; errors are printed on stderr."""
    command = typer.main.get_command(app)
    try:
        command(arguments, prog_name="nitrogen")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    except NitrogenError as exc:
        return _say(str(exc), exc.exit_code)
    except BrokenPipeError:
        # `nitrogen logs | head`: the reader has what it wanted.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as exc:
        code = _model_exit_code(exc)
        if code is not None:
            return _say(str(exc), code)
        return _say(_unexpected(exc), UNEXPECTED)
    return 0


def _say(message: str, code: int) -> int:
    print(f"error: {mask_secrets(message)}", file=sys.stderr)
    return code


def _model_exit_code(exc: Exception) -> int | None:
    """The exit code of an error of the model, whose module is looked at only when it is loaded."""
    errors = sys.modules.get("nitrogen.model.errors")
    if errors is not None and isinstance(exc, errors.ModelError):
        return int(getattr(exc, "exit_code", 9))
    return None


def _unexpected(exc: Exception) -> str:
    first_line = (str(exc).splitlines() or [""])[0][:200]
    what = f"{type(exc).__name__}: {first_line}" if first_line else type(exc).__name__
    try:
        path = _write_traceback()
    except OSError:
        return f"unexpected failure ({what}). Please report it."
    return f"unexpected failure ({what}). Please report it with the traceback in {path}."


def _write_traceback() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    folder = Path(state) / "nitrogen"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="nitrogen-"))
    path = folder / f"error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    path.write_text(mask_secrets(traceback.format_exc()), encoding="utf-8")
    return path


if __name__ == "__main__":
    main()
