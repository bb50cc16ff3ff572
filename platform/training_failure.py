"""From Ray Train's error to the one that a user can act on."""

from __future__ import annotations

from pathlib import Path

from ray.train import TrainingFailedError

from nitrogen.platform.errors import NitrogenError, TrainingError

TRACEBACK_NAME = "error.txt"


def explain_failure(error: TrainingFailedError, name: str, run_dir: Path) -> Exception:
    """The training's own error with an exit code if it raised one, else a TrainingError.

    The whole traceback goes to `error.txt` in the run folder.
    """
    failures = getattr(error, "worker_failures", {})
    causes = {rank: getattr(failure, "_base_exc", failure) for rank, failure in failures.items()}
    (run_dir / TRACEBACK_NAME).write_text(f"{error}\n", encoding="utf-8")
    for cause in causes.values():
        if isinstance(cause, NitrogenError) or hasattr(cause, "exit_code"):
            return cause
    if not causes:
        cause = getattr(error, "controller_failure", error)
        where, what = "in its controller", f"{type(cause).__name__}: {_first_line(cause)}"
    else:
        rank, cause = min(causes.items())
        where, what = f"on rank {rank}", f"{type(cause).__name__}: {_first_line(cause)}"
    return TrainingError(
        f"the training {name} failed {where} ({what}). "
        f"The traceback is in {run_dir / TRACEBACK_NAME}; run again to resume."
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else "no message")[:300].rstrip(".")
