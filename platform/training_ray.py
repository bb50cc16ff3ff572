"""Runs a training on the workers of Ray Train, with DDP's process group set up around it.

Ray resumes a run by its name: give each training its own (the key of its step). The metrics of
every report reach the journal through a callback in Ray's controller, which lives on the node of
the process that called `run_ray`; so does the journal. Ray writes the list of its checkpoints in
place, so a kill can leave half of it: it is checked and mended before each start.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ray
from ray.train import (
    Checkpoint,
    CheckpointConfig,
    FailureConfig,
    LoggingConfig,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
)
from ray.train.torch import TorchConfig

from nitrogen.platform.cluster_auth import environment
from nitrogen.platform.errors import ClusterError, ConfigError, TrainingError
from nitrogen.platform.ray_trainer import Trainer
from nitrogen.platform.storage import filesystem
from nitrogen.platform.tracking import TrackedRun
from nitrogen.platform.training import OnReport, TrainFn, TrainResult, load_train_fn
from nitrogen.platform.training_callback import TrainMlflowCallback, own_run
from nitrogen.platform.training_checkpoints import read_note
from nitrogen.platform.training_failure import explain_failure
from nitrogen.platform.training_journal import JOURNAL_NAME, JournalTail, history
from nitrogen.platform.training_repair import mend_journal, repair_run
from nitrogen.platform.training_session import forwarded_environment, worker_loop

logger = logging.getLogger(__name__)

KEEP_CHECKPOINTS = 2


def run_ray(
    train_fn: TrainFn | str,
    config: dict[str, Any],
    *,
    name: str,
    storage_path: Path | str,
    num_workers: int = 2,
    use_gpu: bool = False,
    resources_per_worker: Mapping[str, float] | None = None,
    num_threads: int | None = None,
    max_failures: int = 2,
    on_report: OnReport | None = None,
    tracking: TrackedRun | None = None,
    local_dir: Path | str | None = None,
    check_resources: bool = True,
) -> TrainResult:
    """Run a training on Ray workers, from its newest checkpoint if it has one under this name.

    Ray must be connected (platform/cluster.py).

    Args:
        train_fn: importable on the workers; the function or its path "package.module:name".
        name: of the run; the same name resumes it.
        storage_path: local folder (one machine, or shared by all) or s3://bucket/prefix; the run
            lies in `storage_path/name`.
        use_gpu: one GPU a worker and NCCL; else the CPU and Gloo.
        resources_per_worker: by default one CPU, and one GPU with use_gpu.
        num_threads: of torch in each worker; by default its CPUs, so that workers do not compete.
        max_failures: restarts from the last checkpoint after a worker died.
        on_report: called here with each event of the journal.
        tracking: MLflow run that receives the metrics.
        local_dir: folder of the journal and of the returned checkpoint when storage is remote.
        check_resources: refuse what the cluster cannot hold now; False where it can grow.

    Raises ClusterError without a Ray that can hold it, ConfigError for an unusable train_fn, and
    the training's own error, or TrainingError, when it failed.
    """
    path = import_path(train_fn)
    resources = _resources(use_gpu, resources_per_worker)
    _check_cluster(num_workers, resources if check_resources else {})
    store, root = filesystem(str(storage_path))
    run_dir = _run_dir(str(storage_path), name, local_dir)
    with own_run(run_dir):
        repair_run(store, f"{root}/{name}")
    mend_journal(store, f"{root}/{name}", run_dir / JOURNAL_NAME)
    threads = num_threads or max(1, int(resources.get("CPU", 1)))
    callback = TrainMlflowCallback(run_dir / JOURNAL_NAME, tracking, (store, root, name))
    trainer = Trainer(
        worker_loop(path, config, forwarded_environment(), threads),
        one_node=check_resources and len(ray.nodes()) == 1,
        scaling_config=ScalingConfig(
            num_workers=num_workers, use_gpu=use_gpu, resources_per_worker=resources
        ),
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
        run_config=RunConfig(
            name=name,
            storage_path=root,
            storage_filesystem=store,
            checkpoint_config=CheckpointConfig(num_to_keep=KEEP_CHECKPOINTS),
            failure_config=FailureConfig(max_failures=max_failures),
            callbacks=[callback],  # type: ignore[list-item]
            logging_config=LoggingConfig(log_level="ERROR"),  # type: ignore[call-arg]
        ),
    )
    with _delivering(run_dir / JOURNAL_NAME, on_report, tracking):
        result = _fit(trainer, name, run_dir)
    return _result(result, run_dir, name)


def import_path(train_fn: TrainFn | str) -> str:
    """ "package.module:name" of a function; ConfigError for one that workers could not import."""
    if isinstance(train_fn, str):
        load_train_fn(train_fn)
        return train_fn
    module = getattr(train_fn, "__module__", None)
    qualified = getattr(train_fn, "__qualname__", "<lambda>")
    if not module or module == "__main__" or "<" in qualified:
        raise ConfigError(
            f"train_fn must be a function at the top of an importable module, got {qualified} of "
            f"{module}. Move it into a module and give its path 'package.module:name'."
        )
    return f"{module}:{qualified}"


def _resources(use_gpu: bool, resources: Mapping[str, float] | None) -> dict[str, float]:
    asked = dict(resources or {"CPU": 1})
    if use_gpu:
        asked.setdefault("GPU", 1)
    return asked


def _check_cluster(num_workers: int, resources: Mapping[str, float]) -> None:
    if not ray.is_initialized():
        raise ClusterError(
            "Ray must be connected before a training starts on it, got no connection. "
            "Use nitrogen.platform.cluster.start_embedded or connect."
        )
    total = ray.cluster_resources()
    for kind, amount in resources.items():
        if num_workers * amount > total.get(kind, 0):
            raise ClusterError(
                f"num_workers must fit the cluster, got {num_workers} workers with {amount:g} "
                f"{kind} each and {total.get(kind, 0):g} {kind} in all. Lower executor.num_workers"
                + (", or set executor.device: cpu." if kind == "GPU" else ".")
            )


def _run_dir(storage_path: str, name: str, local_dir: Path | str | None) -> Path:
    """Local folder of journal and result: the run's own, unless the storage is remote."""
    if "://" not in storage_path:
        run_dir = Path(storage_path) / name
    elif local_dir is not None:
        run_dir = Path(local_dir)
    else:
        run_dir = Path(tempfile.mkdtemp(prefix="nitrogen-train-"))
    run_dir.mkdir(parents=True, exist_ok=True)
    return run_dir.absolute()


def _fit(trainer: Trainer, name: str, run_dir: Path) -> Any:
    try:
        with environment(trainer.environment):
            return trainer.fit()
    except TrainingFailedError as error:
        raise explain_failure(error, name, run_dir) from error
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"the cluster lost the training {name} ({str(error).splitlines()[0].rstrip('.')}). "
            "Check the cluster, then run again: it resumes."
        ) from error
    except KeyboardInterrupt:
        trainer.abort()
        raise


@contextlib.contextmanager
def _delivering(
    journal: Path, on_report: OnReport | None, tracking: TrackedRun | None
) -> Iterator[None]:
    """Call `on_report` for new events; at the end send MLflow what the controller left."""
    with contextlib.ExitStack() as stack:
        if tracking is not None:
            from nitrogen.platform.training_tracking import JournalForwarder

            stack.callback(JournalForwarder(journal, tracking).forward)
        if on_report is not None:
            stack.enter_context(JournalTail(journal, on_report))
        yield


def _result(result: Any, run_dir: Path, name: str) -> TrainResult:
    if result.checkpoint is None:
        raise TrainingError(
            f"the training {name} ended without a checkpoint. "
            "Report one at least at the end of the training function."
        )
    checkpoint = local_checkpoint(result.checkpoint, run_dir / "last-checkpoint")
    rows = history(run_dir / JOURNAL_NAME)
    note = read_note(checkpoint)
    last = rows[-1] if rows else (note.metrics if note else {})
    metrics = {key: value for key, value in last.items() if key not in ("report", "time")}
    return TrainResult(checkpoint, metrics, rows)


def local_checkpoint(checkpoint: Checkpoint, target: Path) -> Path:
    """Where the checkpoint lies on this machine; copied to `target` from a remote storage."""
    import pyarrow.fs

    if isinstance(checkpoint.filesystem, pyarrow.fs.LocalFileSystem):
        return Path(checkpoint.path)
    return Path(checkpoint.to_directory(str(target)))
