"""Runs a training function where the recipe says, and shows how far it is."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nitrogen.platform.errors import ConfigError
from nitrogen.platform.storage_uris import is_s3

if TYPE_CHECKING:
    from nitrogen.pipelines.context import StepContext
    from nitrogen.platform.training import TrainResult

GRID = "samples.png"
MAX_CURVE_POINTS = 400  # of a history that a result carries


def launch(train_fn: str, config: dict[str, Any], context: StepContext) -> TrainResult:
    """Trains in this process or on Ray's workers; resumes what was cut off in `context.dir`.

    Raises TrainingError, and ConfigError for a batch that its workers cannot share evenly.
    """
    from nitrogen.platform.training import run_local, run_ray

    run_dir = Path(context.dir) / "training"
    tracking = None
    if context.tracker is not None and context.run_id is not None:
        tracking = context.tracker.tracked(context.run_id)
    watcher = Watcher(context, run_dir)
    settings = context.settings
    batch_size, workers = config["optim"]["batch_size"], settings.world_size
    if batch_size % workers:
        raise ConfigError(
            f"optim.batch_size must be a multiple of executor.num_workers, got {batch_size} and "
            f"{workers}. Change one of them."
        )
    if context.executor == "local":
        return run_local(
            train_fn, config, run_dir, watcher, device=settings.device, tracking=tracking
        )
    return run_ray(
        train_fn,
        config,
        name=f"train-{context.key[:16]}",
        storage_path=context.of_workers("training"),
        local_dir=run_dir,
        num_workers=settings.num_workers,
        use_gpu=settings.use_gpu,
        check_resources=settings.kind == "embedded",  # a cluster may grow
        on_report=watcher,
        tracking=tracking,
    )


class Watcher:
    """Passes reports on to the progress display, and new sample grids to the tracking server."""

    def __init__(self, context: StepContext, run_dir: Path):
        self._context, self._run_dir = context, run_dir
        self._shown, self._fetched = 0.0, ""

    def __call__(self, event: dict[str, Any]) -> None:
        metrics = event["metrics"]
        shown = {
            name: metrics[name]
            for name in ("loss", "images_per_s", "seconds_left")
            if name in metrics
        }
        self._context.progress.update(
            step=int(metrics.get("step", 0)),
            total=int(metrics.get("total_steps", 0)),
            metrics=shown,
        )
        if event.get("checkpoint"):
            self._log_samples(int(metrics.get("step", 0)))

    def _log_samples(self, step: int) -> None:
        if self._context.tracker is None or self._context.run_id is None:
            return
        self._fetch_samples()
        grids = list(self._run_dir.rglob(GRID))
        if not grids:
            return
        newest = max(grids, key=lambda path: path.stat().st_mtime)
        if newest.stat().st_mtime > self._shown:
            self._shown = newest.stat().st_mtime
            self._context.tracker.log_image(self._context.run_id, newest, "samples", step)

    def _fetch_samples(self) -> None:
        """The newest grid of workers whose checkpoints lie in a bucket."""
        from nitrogen.platform import storage
        from nitrogen.platform.errors import StorageError

        root = str(self._context.of_workers("training"))
        if not is_s3(root):
            return
        with contextlib.suppress(StorageError):  # the next checkpoint has one too
            # A checkpoint's name begins with its time.
            grids = sorted(name for name in storage.list_files(root) if name.endswith(GRID))
            if grids and grids[-1] != self._fetched:
                (self._run_dir / GRID).write_bytes(storage.read_bytes(f"{root}/{grids[-1]}"))
                self._fetched = grids[-1]


def curve(history: list[dict[str, Any]]) -> list[dict[str, float]]:
    """At most 400 points of what was reported, losses renamed `loss_*`, for the report."""
    stride = -(-len(history) // MAX_CURVE_POINTS) or 1
    kept = history[::stride] + (history[-1:] if (len(history) - 1) % stride else [])
    parts = ("full", "narrow", "stale", "nll", "compute")
    return [
        {"images": row["images"], "step": row["step"], "loss": row["loss"]}
        | {f"loss_{part}": row[part] for part in parts if part in row}
        for row in kept
        if "images" in row
    ]
