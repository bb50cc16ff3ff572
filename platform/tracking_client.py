"""MLflow's client, opened quietly: no telemetry, no banner, short waits, the database made once."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nitrogen.platform.errors import TrackingError

SQLITE = "sqlite:///"
# What a server says when it is down, busy or restarting: worth keeping and sending again.
TRANSIENT = {
    "TEMPORARILY_UNAVAILABLE",
    "INTERNAL_ERROR",
    "REQUEST_LIMIT_EXCEEDED",
    "DEADLINE_EXCEEDED",
    "ABORTED",
}
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    # MLflow's own retries hold a caller for minutes; the spool keeps what could not be sent.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
}


class TransientTrackingError(TrackingError):
    """The server cannot be reached now; sending the same again later may work."""


def open_client(uri: str) -> Any:
    """An MlflowClient on `uri`; an SQLite database is made or migrated first, by one process.

    Raises TrackingError in one sentence.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    for name in ("alembic", "mlflow.store.db.utils", "mlflow.tracking"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if uri.startswith(("file:", "/", ".")) or "://" not in uri:
        raise TrackingError(
            f"tracking.uri must be sqlite:///... or http(s)://..., got {uri}. "
            "MLflow's file store is out of use; take sqlite:///FOLDER/mlflow.db."
        )
    from mlflow.tracking import MlflowClient

    with mlflow_errors(uri), _one_process(uri):
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.search_experiments(max_results=1)
    return client


def database_path(uri: str) -> Path | None:
    """The file behind an SQLite URI, or None."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


@contextlib.contextmanager
def mlflow_errors(uri: str) -> Iterator[None]:
    """Turn what MLflow raises into TrackingError; TransientTrackingError when it may pass."""
    try:
        yield
    except TrackingError:
        raise
    except Exception as error:  # boundary: requests, SQLAlchemy and MLflow errors alike
        raise _sentence(error, uri) from error


def metric_key(name: str) -> str:
    """`name` with what MLflow refuses in a key replaced by `_`."""
    return re.sub(r"[^\w\-. /]", "_", name)[:250]


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested parameters as dotted keys and text, at most 6,000 characters each."""
    flat: dict[str, str] = {}
    for name, value in params.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{key}."))
        else:
            flat[metric_key(key)] = str(value)[:6000]
    return flat


def _sentence(error: Exception, uri: str) -> TrackingError:
    code = getattr(error, "error_code", None)
    lines = str(error).strip().splitlines()
    first = _without_password(lines[0] if lines else type(error).__name__)[:200].rstrip(".")
    where = _without_password(uri)
    if code is not None and code not in TRANSIENT:
        return TrackingError(f"MLflow at {where} refused: {first}. Check tracking.uri and the run.")
    if isinstance(error, (OSError, PermissionError)) and not hasattr(error, "response"):
        remedy = "Check that the folder can be written."
    elif uri.startswith(SQLITE):
        remedy = "Check that the folder can be written and the disk is not full."
    else:
        remedy = "Check tracking.uri and that the server runs."
    return TransientTrackingError(f"MLflow at {where} could not be reached ({first}). {remedy}")


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//", text)


@contextlib.contextmanager
def _one_process(uri: str) -> Iterator[None]:
    """Two processes that migrate one SQLite database at once break it."""
    path = database_path(uri)
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
