"""What a run borrows from the platform: MLflow and Ray, each opened once, when first needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nitrogen.pipelines.executor import ExecutorConfig
from nitrogen.pipelines.recipe import Recipe, named_tracking_uri
from nitrogen.platform.errors import NitrogenError, TrackingError


def tracking_uri(recipe: Recipe, folder: Path) -> str:
    """The recipe's MLflow URI, or MLFLOW_TRACKING_URI, or SQLite in the run folder."""
    return named_tracking_uri(recipe) or f"sqlite:///{Path(folder).absolute()}/mlflow.db"


def open_tracker(uri: str, experiment: str, home: Path) -> Any:
    """A Tracker on `uri`, its database made; `home` holds what a lost server has not got yet."""
    from nitrogen.platform.tracking import Tracker

    tracker = Tracker(uri, experiment, home=home)
    tracker.init_database()
    return tracker


def open_cluster(settings: ExecutorConfig, folder: Path) -> Callable[[], None]:
    """Start an embedded Ray or connect to a running one; returns what ends it again."""
    from nitrogen.platform.cluster import connect, start_embedded

    if settings.kind == "address":
        return connect(str(settings.address)).close
    object_store_bytes = settings.object_store_mb * 2**20
    return start_embedded(
        settings.num_cpus, object_store_bytes, log_dir=folder / "logs" / "ray"
    ).close


@dataclass
class Services:
    """The openers, so that tests can hand in others."""

    tracker: Callable[[str, str, Path], Any] = open_tracker
    cluster: Callable[[ExecutorConfig, Path], Callable[[], None]] = open_cluster


@dataclass
class RunServices:
    """The services of one run. A lost tracking server is said once and never ends a training."""

    openers: Services
    settings: ExecutorConfig
    tracking_uri: str
    experiment: str
    folder: Path
    say: Callable[[str], None]
    _tracker: Any = None
    _tracking_lost: bool = False
    _close_cluster: Callable[[], None] | None = field(default=None)

    def tracker(self) -> Any:
        """The Tracker, or None when MLflow cannot be reached."""
        if self._tracker is None and not self._tracking_lost:
            self._guard(self._open_tracker)
        return self._tracker

    def _open_tracker(self) -> None:
        self._tracker = self.openers.tracker(self.tracking_uri, self.experiment, self.folder)

    def start_run(
        self, key: str, name: str, parent: str | None, tags: Mapping[str, str]
    ) -> str | None:
        """The id of the MLflow run of this key, made now or found again."""
        tracker = self.tracker()
        if tracker is None:
            return None
        return self._guard(lambda: tracker.start_run(key, name, parent=parent, tags=tags))

    def log_params(self, run_id: str | None, params: Mapping[str, Any]) -> None:
        if self._tracker is not None and run_id is not None:
            self._guard(lambda: self._tracker.log_params(run_id, dict(params)))

    def finish_run(self, run_id: str | None, status: str) -> None:
        """End an MLflow run as FINISHED, FAILED or KILLED."""
        if self._tracker is not None and run_id is not None:
            self._guard(lambda: self._tracker.finish(run_id, status))

    def _guard(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except TrackingError as exc:
            if not self._tracking_lost:
                self.say(f"warning: {exc} The run goes on without tracking.")
            self._tracking_lost = True
            return None

    def need_cluster(self) -> None:
        """Connect to Ray unless that is done or the executor is local."""
        if self._close_cluster is None and self.settings.mode == "ray":
            self._close_cluster = self.openers.cluster(self.settings, self.folder)

    def close(self) -> None:
        """End the cluster, if this run started it."""
        close, self._close_cluster = self._close_cluster, None
        if close is None:
            return
        try:
            close()
        except NitrogenError as exc:
            self.say(f"warning: {exc}")
