"""Looking at a run from another shell, following its log, and stopping it."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nitrogen.pipelines.atomic_json import read_json
from nitrogen.pipelines.journal import Journal
from nitrogen.pipelines.run_folder import SUCCESS, RunFolder
from nitrogen.pipelines.run_lock import lock_holder
from nitrogen.platform.errors import ConfigError, NitrogenError, StorageError

_POLL_S = 0.5


def run_status(run: Path) -> dict[str, Any]:
    """State of a run folder: "running", or how its last run ended; "cut off" after a kill -9.

    steps: name -> state, key, `seconds` in the last run (0 when cached), and `took_s` of the run
    that did the step.
    """
    folder = _existing(run)
    holder = lock_holder(folder.lock_path)
    steps: dict[str, dict[str, Any]] = {}
    state, recipe, last = "never run", None, None
    for event in Journal(folder.journal_path).read():
        last = event
        name = event["event"]
        if name == "run started":
            state, recipe, steps = "cut off", event.get("recipe"), {}
        elif name.startswith("run "):
            state = name.removeprefix("run ")
        elif "step" in event:
            steps[event["step"]] = {
                "state": "running" if name == "step started" else name.removeprefix("step "),
                "seconds": event.get("seconds"),
                "took_s": _took_s(folder, event["step"], event.get("key")),
                "key": event.get("key"),
            }
    if holder is not None:
        state = "running"
    elif state == "cut off":
        for row in steps.values():
            row["state"] = "cut off" if row["state"] == "running" else row["state"]
    return {
        "run": str(folder.root),
        "recipe": recipe,
        "state": state,
        "pid": holder["pid"] if holder else None,
        "steps": steps,
        "progress": read_json(folder.progress_path) if holder else None,
        "error": last.get("error") if last else None,
    }


def _took_s(folder: RunFolder, step: str, key: str | None) -> float | None:
    """Seconds of the run that did the step, from its marker; None where it is not done."""
    marker = read_json(folder.step_dir(step, key) / SUCCESS) if key else None
    return marker.get("seconds") if isinstance(marker, dict) else None


def follow_log(run: Path, *, follow: bool, tail: int | None = None) -> Iterator[str]:
    """Lines of the run's log; with `follow`, on until the run ends."""
    folder = _existing(run)
    try:
        file = folder.log_path.open(encoding="utf-8", errors="replace")
    except OSError:
        return
    with file:
        lines = file.readlines()
        yield from (line.rstrip("\n") for line in (lines[-tail:] if tail is not None else lines))
        torn = ""
        while follow:
            running = lock_holder(folder.lock_path) is not None
            for piece in file.readlines():
                torn += piece
                if torn.endswith("\n"):
                    yield torn.rstrip("\n")
                    torn = ""
            if not running:
                break
            time.sleep(_POLL_S)


def stop_run(run: Path, timeout_s: float = 60.0, wait: Callable[[float], None] = time.sleep) -> int:
    """SIGTERM the run in this folder and wait until it is gone; returns its process id."""
    folder = _existing(run)
    holder = lock_holder(folder.lock_path)
    if holder is None:
        raise ConfigError(f"{run} must hold a running run, got none. There is nothing to stop.")
    if holder["host"] != socket.gethostname():
        raise StorageError(
            f"the run must be on this machine to be stopped, got {holder['host']}. Stop it there."
        )
    os.kill(holder["pid"], signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while lock_holder(folder.lock_path) is not None:
        if time.monotonic() > deadline:
            raise NitrogenError(
                f"process {holder['pid']} must end after SIGTERM, but still runs after "
                f"{timeout_s:g} s. Try again, or end it with: kill -9 {holder['pid']}"
            )
        wait(_POLL_S)
    return int(holder["pid"])


def _existing(run: Path) -> RunFolder:
    folder = RunFolder(run)
    if not folder.steps.is_dir():
        raise ConfigError(f"RUN must be a run folder, got {run}. Give the --out of `nitrogen run`.")
    return folder
