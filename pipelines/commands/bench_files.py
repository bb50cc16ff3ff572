"""What commands that write a benchmark file share: options, folder of rows, command line."""

from __future__ import annotations

import contextlib
import errno
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from nitrogen.pipelines.commands.output import note

OutOption = Annotated[
    Path, typer.Option("--out", "-o", help="JSON file; what is measured is kept beside it.")
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data", help="Prepared pictures of the model, by default of its run or bundled ones."
    ),
]
QuickOption = Annotated[
    bool, typer.Option("--quick", help="Tiny: shows that it runs, decides nothing.")
]
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def about() -> dict[str, Any]:
    """The machine and the code behind a file."""
    import torch

    from nitrogen.pipelines.report.provenance import commit, machine

    where = {"hardware": machine(), "threads": torch.get_num_threads(), "commit": commit()}
    return where | {"date": now()}


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def kept(out: Path) -> Path:
    """The folder beside the file that holds rows and rounds."""
    return out.with_name(out.stem + ".rows")


@contextlib.contextmanager
def resumable(out: Path) -> Iterator[Path]:
    """The same folder; who stops what happens in it is told that it can go on. Raises StorageError
    for a file that could not be written, before anything is measured, and for a full disk."""
    from nitrogen.pipelines.commands.generate_options import check_out
    from nitrogen.platform.errors import StorageError

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise unwritable(out, exc) from exc
    check_out(out)
    try:
        yield kept(out)
    except KeyboardInterrupt:
        if kept(out).exists():
            note(f"what was measured is in {kept(out)}: the same command goes on from there")
        raise
    except OSError as exc:
        if exc.errno not in FULL and not str(exc.filename or "").startswith(str(kept(out))):
            raise
        raise StorageError(
            f"--out must lie where {kept(out)} can be written, got {out} ({exc.strerror}). Free "
            "space or choose another path: the same command goes on from what is there."
        ) from exc


def write(out: Path, result: dict[str, Any]) -> None:
    from nitrogen.pipelines.atomic_json import write_json

    try:
        write_json(out, result)
    except OSError as exc:
        raise unwritable(out, exc) from exc


def unwritable(out: Path, exc: OSError) -> Exception:
    """What to raise."""
    from nitrogen.platform.errors import StorageError

    return StorageError(
        f"--out must be a file that can be written, got {out} ({exc.strerror}). "
        "Choose another path."
    )


def command(
    name: str, out: Path, run: str | None, quick: bool, options: list[tuple[str, Any]]
) -> str:
    """The command line that makes the file again."""
    parts = ["nitrogen", "bench", name, "--out", str(out)]
    parts += ["--quick"] if quick else []
    for option, value in [("--run", run), *options]:
        parts += [option, str(value)] if value is not None else []
    return shlex.join(parts)


def folder(run: str | None) -> Path | None:
    """The run's folder on this machine, or what names shipped weights."""
    from nitrogen.pipelines.remote_folder import fetched

    return fetched(run) if run is not None else None
