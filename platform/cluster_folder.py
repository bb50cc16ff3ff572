"""The folder of a Ray that we started: short, private, and gone when its process is."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from nitrogen.platform.errors import ConfigError
from nitrogen.platform.processes import process_alive

TEMP_PREFIX = "ng-ray-"


def temp_folder(temp_dir: Path | None) -> Path:
    """A private folder whose path leaves room for Ray's socket names (107 characters in all)."""
    if temp_dir is not None:
        if len(str(temp_dir)) > 40:
            raise ConfigError(
                f"temp_dir must be at most 40 characters long, got {temp_dir}. "
                "Unix sockets lie under it; choose a shorter path."
            )
        temp_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return temp_dir
    base = tempfile.gettempdir()
    base = base if len(base) <= 20 else "/tmp"
    remove_stale(Path(base))
    return Path(tempfile.mkdtemp(prefix=f"{TEMP_PREFIX}{os.getpid()}-", dir=base))


def remove_stale(base: Path) -> list[Path]:
    """Remove the folders of our processes that were killed; returns them."""
    stale = []
    for path in base.glob(f"{TEMP_PREFIX}*-*"):
        pid = path.name.removeprefix(TEMP_PREFIX).split("-")[0]
        with contextlib.suppress(OSError):
            if (
                pid.isdigit()
                and not process_alive(int(pid))
                and (path.stat().st_uid == os.getuid())
            ):
                shutil.rmtree(path, ignore_errors=True)
                stale.append(path)
    return stale


def end_children(folder: Path) -> None:
    """End our own child processes that work in `folder`: a Ray that started half leaves some."""
    import ray  # noqa: F401  (brings psutil along)
    import psutil  # isort: skip

    ours = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any(str(folder) in word for word in child.cmdline()):
                child.terminate()
                ours.append(child)
    for child in psutil.wait_procs(ours, timeout=5)[1]:
        with contextlib.suppress(psutil.Error):
            child.kill()


def remove_folder(folder: Path, keep: bool) -> None:
    """Remove the folder, or with `keep` only the token in it."""
    if keep:
        (folder / "token").unlink(missing_ok=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def copy_logs(folder: Path, log_dir: Path | None) -> None:
    """Copy Ray's logs out of the folder that is about to go."""
    if log_dir is None:
        return
    with contextlib.suppress(OSError, shutil.Error):
        shutil.copytree(folder / "session_latest" / "logs", log_dir, dirs_exist_ok=True)
