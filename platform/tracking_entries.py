"""What is logged, as entries that can be kept while a server is away: how each of them is sent."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nitrogen.platform.tracking_client import database_path

MAX_METRICS = 1000
MAX_PARAMS = 100

MetricRow = tuple[str, float, int, int]
"""(key, value, milliseconds since the epoch, step)"""

logger = logging.getLogger(__name__)


def perform(client: Any, run_id: str, entry: dict[str, Any]) -> None:
    """Send one entry: op is metrics, params, tags, artifact or finish. Raises what MLflow does."""
    if entry["op"] == "metrics":
        send_metrics(client, run_id, [tuple(row) for row in entry["rows"]])
    elif entry["op"] == "params":
        send_params(client, run_id, entry["params"])
    elif entry["op"] == "tags":
        from mlflow.entities import RunTag

        client.log_batch(run_id, tags=[RunTag(k, v) for k, v in entry["tags"].items()])
    elif entry["op"] == "artifact":
        path = Path(entry["path"])
        log = client.log_artifacts if path.is_dir() else client.log_artifact
        log(run_id, str(path), entry["folder"])
    else:
        client.set_terminated(run_id, status=entry["status"])


def send_metrics(client: Any, run_id: str, rows: Sequence[MetricRow]) -> None:
    """Log rows in batches of 1,000."""
    from mlflow.entities import Metric

    for start in range(0, len(rows), MAX_METRICS):
        batch = [Metric(*row) for row in rows[start : start + MAX_METRICS]]
        client.log_batch(run_id, metrics=batch)


def send_params(client: Any, run_id: str, params: dict[str, str]) -> None:
    """Log what is new; MLflow refuses a batch in which one value differs from before."""
    from mlflow.entities import Param

    known = client.get_run(run_id).data.params
    changed = [k for k, v in params.items() if known.get(k, v) != v]
    if changed:
        logger.warning("changed parameters keep their first value: %s", ", ".join(changed))
    new = [Param(key, value) for key, value in params.items() if key not in known]
    for start in range(0, len(new), MAX_PARAMS):
        client.log_batch(run_id, params=new[start : start + MAX_PARAMS])


def find_or_make_experiment(client: Any, name: str, uri: str) -> str:
    """The experiment's id. Artifacts of an SQLite store lie beside the database; a server has its
    own place."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    database = database_path(uri)
    location = (database.absolute().parent / "mlartifacts").as_uri() if database else None
    try:
        return client.create_experiment(name, artifact_location=location)
    except Exception:  # another process was first, or it fails again below
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return found.experiment_id


def as_png(image: Any) -> bytes:
    """A file, a PIL image, or an array or tensor [h, w, 3] of uint8."""
    from PIL import Image

    if isinstance(image, (str, Path)):
        image = Image.open(image)
    elif not isinstance(image, Image.Image):
        image = Image.fromarray(image.numpy() if hasattr(image, "numpy") else image)
    encoded = io.BytesIO()
    image.save(encoded, format="PNG")
    return encoded.getvalue()
