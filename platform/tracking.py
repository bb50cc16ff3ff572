"""Runs, metrics, parameters and artifacts in MLflow, without ever standing in a training's way.

Run ids are made before the work and found again by key, so a resumed step goes on in its own run.
A server that is down when a run starts is an error, in one sentence; one that goes down later is
not: what is logged then is kept in a spool beside the run and sent when the server is back.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nitrogen.platform.errors import TrackingError
from nitrogen.platform.tracking_client import (
    TransientTrackingError,
    database_path,
    flatten,
    metric_key,
    mlflow_errors,
    open_client,
)
from nitrogen.platform.tracking_entries import (
    MetricRow,
    as_png,
    find_or_make_experiment,
    perform,
    send_metrics,
)
from nitrogen.platform.tracking_spool import Spool

KEY_TAG = "nitrogen.key"
RETRY_S = 20.0
STATUSES = ("FINISHED", "FAILED", "KILLED")

logger = logging.getLogger(__name__)


def default_home() -> Path:
    """Folder of what outlives a run: NITROGEN_HOME, or ~/.nitrogen."""
    return Path(os.environ.get("NITROGEN_HOME") or Path.home() / ".nitrogen").expanduser()


@dataclass(frozen=True)
class TrackedRun:
    """Where a training's metrics go; small enough to travel to a worker."""

    uri: str
    run_id: str


class Tracker:
    """One experiment in one MLflow store.

    Args:
        uri: sqlite:///FILE or http(s)://SERVER; None for mlflow.db in `home`.
        experiment: made when absent. With SQLite its artifacts lie beside the database.
        home: folder of the spool, and of the default database.

    `log_*` and `finish` never raise for a server that is down; `start_run` raises TrackingError.
    """

    def __init__(
        self, uri: str | None = None, experiment: str = "nitrogen", home: Path | str | None = None
    ) -> None:
        self._home = Path(home) if home else None
        self.uri = uri or f"sqlite:///{(self._home or default_home()).absolute()}/mlflow.db"
        self.experiment = experiment
        database = database_path(self.uri)
        folder = self._home or (database.parent if database else default_home())
        self._spool = Spool(folder / "tracking-spool")
        self._opened: Any = None
        self._experiment_id: str | None = None
        self._retry_at = 0.0

    def init_database(self) -> None:
        """Make or migrate the database and the experiment; call once before workers start."""
        self._experiment()

    def start_run(
        self,
        key: str,
        name: str,
        parent: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Id of the run with this key, found again or made now, marked as running.

        Raises TrackingError when the store cannot be reached.
        """
        experiment = self._experiment()
        client = self._client()
        with mlflow_errors(self.uri):
            found = client.search_runs(
                [experiment], filter_string=f"tags.`{KEY_TAG}` = '{key}'", max_results=1
            )
            if found:
                client.update_run(found[0].info.run_id, status="RUNNING")
                return found[0].info.run_id
            all_tags = {**(tags or {}), KEY_TAG: key, "mlflow.runName": name}
            if parent is not None:
                all_tags["mlflow.parentRunId"] = parent
            return client.create_run(experiment, tags=all_tags).info.run_id

    def tracked(self, run_id: str) -> TrackedRun:
        """What `run_local` and `run_ray` take as `tracking`."""
        return TrackedRun(self.uri, run_id)

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log numbers at a step, in one call."""
        now = int(time.time() * 1000)
        rows = [[metric_key(key), float(value), now, int(step)] for key, value in metrics.items()]
        self._do(run_id, {"op": "metrics", "rows": rows})

    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Log nested parameters as dotted keys; all in one call (100 a call)."""
        self._do(run_id, {"op": "params", "params": flatten(params)})

    def set_tags(self, run_id: str, tags: Mapping[str, Any]) -> None:
        self._do(run_id, {"op": "tags", "tags": {k: str(v)[:5000] for k, v in tags.items()}})

    def log_artifact(self, run_id: str, path: Path | str, folder: str | None = None) -> None:
        """Upload a file, or a folder with all in it, into `folder` of the run's artifacts."""
        self._do(run_id, {"op": "artifact", "path": str(path), "folder": folder})

    def log_artifacts(self, run_id: str, path: Path | str, folder: str | None = None) -> None:
        self.log_artifact(run_id, path, folder)

    def log_image(self, run_id: str, image: Any, name: str, step: int | None = None) -> None:
        """Log a picture: a file, a PIL image, or an array [h, w, 3] of uint8.

        It becomes the artifact `images/<name>.png`, or with a step `images/<name>/<step>.png`.
        """
        file_name = f"{name}.png" if step is None else f"{step:08d}.png"
        folder = "images" if step is None else f"images/{name}"
        path = self._spool.keep(run_id, file_name, as_png(image))
        try:
            self._do(run_id, {"op": "artifact", "path": str(path), "folder": folder})
        finally:
            path.unlink(missing_ok=True)

    def finish(self, run_id: str, status: str = "FINISHED") -> None:
        """End a run; sends what is spooled first."""
        if status not in STATUSES:
            raise ValueError(f"status must be one of {', '.join(STATUSES)}, got {status}")
        self._retry_at = 0.0
        self._do(run_id, {"op": "finish", "status": status})

    def replay(self) -> int:
        """Send all that is spooled for any run; returns how many entries are left."""
        self._retry_at = 0.0
        for run_id in self._spool.run_ids():
            self._replay(run_id)
        return sum(len(self._spool.entries(run_id)) for run_id in self._spool.run_ids())

    def send_metrics(self, run_id: str, rows: list[MetricRow]) -> None:
        """Log rows now or not at all. Raises TrackingError."""
        client = self._client()
        with mlflow_errors(self.uri):
            send_metrics(client, run_id, rows)

    def _do(self, run_id: str, entry: dict[str, Any]) -> None:
        """Perform an entry after those that wait; keep it when the server is down."""
        if (
            time.monotonic() < self._retry_at
            or not self._replay(run_id)
            or not self._attempt(run_id, entry)
        ):
            self._spool.append(run_id, entry)

    def _replay(self, run_id: str) -> bool:
        """Perform the entries that wait for a run, in order; False when some still wait."""
        waiting = self._spool.entries(run_id)
        for done, entry in enumerate(waiting):
            if not self._attempt(run_id, entry):
                self._spool.drop(run_id, done)
                return False
        if waiting:
            self._spool.drop(run_id, len(waiting))
            logger.warning("MLflow is back: %d entries of run %s sent", len(waiting), run_id)
        return True

    def _attempt(self, run_id: str, entry: dict[str, Any]) -> bool:
        """True when the entry is done with, sent or refused for good; False when it must wait."""
        try:
            with mlflow_errors(self.uri):
                perform(self._client(), run_id, entry)
        except TransientTrackingError as error:
            if time.monotonic() >= self._retry_at:
                logger.warning("%s What is logged is kept and sent later.", error)
            self._retry_at = time.monotonic() + RETRY_S
            return False
        except TrackingError as error:
            logger.warning("%s This entry (%s) is dropped.", error, entry["op"])
        return True

    def _client(self) -> Any:
        if self._opened is None:
            self._opened = open_client(self.uri)
        return self._opened

    def _experiment(self) -> str:
        if self._experiment_id is None:
            client = self._client()
            with mlflow_errors(self.uri):
                self._experiment_id = find_or_make_experiment(client, self.experiment, self.uri)
        return self._experiment_id
