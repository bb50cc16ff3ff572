"""What the doctor asks of the setup: ports, tokens and keys, MLflow's store, names, variables."""

from __future__ import annotations

import os
import socket
import sqlite3
import stat
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nitrogen.pipelines.doctor_check import Check
from nitrogen.pipelines.masking import MASK, is_secret, mask_secrets

DEFAULT_PORTS = (8000, 8265, 5000)
_PORT_OF = {8000: "the endpoint", 8265: "the Ray dashboard", 5000: "the MLflow UI"}


def free_ports(ports: tuple[int, ...]) -> Iterator[Check]:
    for port in ports:
        use = _PORT_OF.get(port, "the endpoint")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as exc:
                text = f"{port} is taken ({exc.strerror})"
                yield Check("port", "WARN", text, f"Give {use} another port, or stop its user.")
                continue
        yield Check("port", "OK", f"{port} is free for {use}")


def authentication() -> Iterator[Check]:
    mode = os.environ.get("RAY_AUTH_MODE")
    where = os.environ.get("RAY_AUTH_TOKEN_PATH")
    token = Path(where).expanduser() if where else Path.home() / ".ray" / "auth_token"
    if mode == "disabled":
        fix = "Everyone who reaches the cluster can run code on it: set RAY_AUTH_MODE=token."
        yield Check("ray authentication", "WARN", "RAY_AUTH_MODE is disabled", fix)
    elif token.is_file() and stat.S_IMODE(token.stat().st_mode) & 0o077:
        text = f"{token} can be read by others"
        yield Check("ray authentication", "WARN", text, f"Run: chmod 600 {token}")
    else:
        held = "a token is at hand" if token.is_file() else "no token file; one is made when needed"
        yield Check("ray authentication", "OK", f"mode {mode or 'token (ours)'}, {held}")
    keys = [key for key in os.environ.get("NITROGEN_API_KEYS", "").split(",") if key.strip()]
    text = f"{len(keys)} API keys set ({MASK})" if keys else "no API keys; loopback only"
    yield Check("endpoint authentication", "OK", text)


def mlflow_store(folder: Path) -> Iterator[Check]:
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        yield Check("mlflow", "OK", f"MLFLOW_TRACKING_URI is {mask_secrets(uri)}")
    if (folder / "mlruns").is_dir():
        fix = "MLflow takes it for an old file store and refuses: move it away."
        yield Check("mlflow", "WARN", f"{folder / 'mlruns'} exists", fix)
    try:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            with sqlite3.connect(Path(place) / "probe.db", timeout=5) as database:
                database.execute("create table probe (x)")
            database.close()
    except (OSError, sqlite3.Error) as exc:
        fix = "Choose an --out on a local disk, or set tracking.uri to an MLflow server."
        yield Check("mlflow database", "FAIL", f"SQLite cannot write in {folder}: {exc}", fix)
    else:
        yield Check("mlflow database", "OK", f"SQLite writes in {folder}")


def platform_module(folder: Path) -> Iterator[Check]:
    """Nothing may shadow the standard library's `platform`."""
    import platform

    expected = Path(sysconfig.get_paths()["stdlib"]).resolve()
    actual = Path(str(platform.__file__)).resolve()
    if (folder / "platform" / "__init__.py").exists():
        fix = "Delete it: pip, torch and Ray would import it as `platform`."
        yield Check("platform module", "FAIL", f"{folder}/platform/__init__.py exists", fix)
    elif expected not in actual.parents:
        fix = "Take that folder off PYTHONPATH."
        yield Check("platform module", "FAIL", f"`platform` is {actual}", fix)
    else:
        yield Check("platform module", "OK", "the standard library's")


def environment() -> Iterator[Check]:
    address = os.environ.get("RAY_ADDRESS")
    if address:
        text = f"RAY_ADDRESS is {mask_secrets(address)}"
        fix = "Other Ray programs will join that cluster; the embedded Ray ignores it."
        yield Check("ray address", "WARN", text, fix)
    ours = ("AWS_", "MLFLOW_", "NITROGEN_")
    shown = [
        f"{name}={MASK if is_secret(name) else mask_secrets(value)}"
        for name, value in sorted(os.environ.items())
        if name.startswith(ours)
    ]
    yield Check("environment", "OK", ", ".join(shown) or "no AWS_, MLFLOW_, NITROGEN_ variables")
