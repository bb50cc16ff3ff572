"""Ray for a run: one of our own on this machine, or a connection to a running cluster.

Both take back only what they started, leave the caller's `RAY_*` variables as they found them, and
turn token authentication on. Ray's processes keep their sockets under a short path in the system's
temporary folder, so the working directory may be called anything.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nitrogen.platform.cluster_address import check_listening, check_token, explain, first_line
from nitrogen.platform.cluster_auth import (
    FOREIGN,
    clean_ray_environment,
    find_token,
    token_authentication,
    write_new_token,
)
from nitrogen.platform.cluster_folder import (
    copy_logs,
    end_children,
    remove_folder,
    temp_folder,
)
from nitrogen.platform.cluster_signals import own_signals
from nitrogen.platform.errors import ClusterError, ConfigError

MIN_OBJECT_STORE_BYTES = 80 * 1024**2
NAMESPACE = "nitrogen"

logger = logging.getLogger(__name__)

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # Zero GPUs must not hide the devices from tasks that ask for none; also silences a warning.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass
class Cluster:
    """A Ray that this process is connected to, until `close()` or the end of a `with` block."""

    address: str
    """host:port of its head (GCS)"""
    dashboard_url: str
    """host:port of its dashboard and jobs API; empty when it has none"""
    started: bool = False
    """whether closing stops the cluster (else only the connection, if that is ours)"""
    temp_dir: Path | None = None
    """folder of the processes that we started"""
    token_path: Path | None = None
    """file (mode 0600) with the token that these processes ask for"""
    _log_dir: Path | None = None
    _undo: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, repr=False)

    def close(self) -> None:
        """Take back what was started, and the environment; a second call does nothing."""
        self._undo.close()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self.temp_dir is not None:
            copy_logs(self.temp_dir, self._log_dir)
        self.close()


def start_embedded(
    num_cpus: int | None = None,
    object_store_bytes: int = 256 * 1024**2,
    *,
    num_gpus: int | None = None,
    temp_dir: Path | None = None,
    dashboard: bool = False,
    log_dir: Path | None = None,
) -> Cluster:
    """Start a Ray on this machine, with a token of its own; stopped by `close()`.

    A process that is connected to a Ray already keeps using that one, and it stays up.

    Args:
        num_cpus: CPUs that tasks may take; None for those this process may run on.
        object_store_bytes: shared memory for objects, at least 80 MiB.
        num_gpus: None detects them.
        temp_dir: must be a short path; a new folder in the system's temporary one by default.
        dashboard: start it on a loopback port (it costs about 150 MB and some seconds).
        log_dir: Ray's logs are copied here when a `with` block is left by an exception.

    Raises ConfigError for a bad size, ClusterError when Ray does not start.
    """
    if object_store_bytes < MIN_OBJECT_STORE_BYTES:
        raise ConfigError(
            f"object_store_bytes must be at least {MIN_OBJECT_STORE_BYTES} (80 MiB), got "
            f"{object_store_bytes}. Raise executor.object_store_mb."
        )
    import ray

    if ray.is_initialized():
        return _connected()
    options = {
        "num_cpus": num_cpus or len(os.sched_getaffinity(0)),
        "num_gpus": num_gpus,
        "object_store_memory": object_store_bytes,
        "include_dashboard": dashboard,
    }
    try:
        return _start(temp_dir, log_dir, options)
    except ClusterError as error:
        if "timed out" not in str(error):
            raise
        # Ray gives its processes 30 s and has no setting for it.
        logger.warning("this machine is busy: Ray did not start within 30 s; trying once more")
    return _start(temp_dir, log_dir, options)


def _start(temp_dir: Path | None, log_dir: Path | None, options: dict[str, Any]) -> Cluster:
    import ray

    folder = temp_folder(temp_dir)
    token_path = folder / "token"
    with contextlib.ExitStack() as stack:
        stack.callback(remove_folder, folder, keep=temp_dir is not None)
        write_new_token(token_path)
        stack.enter_context(clean_ray_environment(QUIET))
        stack.enter_context(token_authentication(token_path))
        stack.callback(end_children, folder)
        stack.callback(ray.shutdown)
        port = _free_port() if options["include_dashboard"] else None
        _init_local(**options, dashboard_port=port, _temp_dir=str(folder))
        cluster = _connected()
        # Jobs that are submitted to this Ray look here, and else take any Ray of the machine.
        (folder / "ray_current_cluster").write_text(cluster.address)
        cluster.started, cluster.temp_dir, cluster.token_path = True, folder, token_path
        cluster._log_dir, cluster._undo = log_dir, stack.pop_all()
    return cluster


def connect(address: str, token: str | None = None) -> Cluster:
    """Connect to a running cluster ("host:port" of its head, or "auto"), until `close()`.

    The token is `token`, else what `cluster_auth.find_token` finds; none means an open cluster.
    Raises ClusterError in one sentence for a dead address, a refused token, another Ray version.
    """
    import ray

    if ray.is_initialized():
        return _connected()
    if "://" in address:
        raise ClusterError(
            f"address must be host:port of the cluster's head or auto, got {address}. "
            "A dashboard address is for `nitrogen submit --address`."
        )
    if address != "auto":
        check_listening(address)
    # Inside a Ray job the variables name this very cluster and carry the job's environment. "auto"
    # alone would take any Ray that runs on the machine.
    foreign = () if address == "auto" else FOREIGN
    with contextlib.ExitStack() as stack:
        token = token or find_token()
        if address != "auto":
            check_token(address, token)
        stack.enter_context(clean_ray_environment(QUIET, drop=foreign))
        stack.enter_context(token_authentication(token))
        stack.callback(ray.shutdown)
        _init_connection(address)
        cluster = _connected()
        cluster._undo = stack.pop_all()
    return cluster


def _init_local(**options: object) -> None:
    import ray

    try:
        with own_signals():
            ray.init(
                address="local",
                dashboard_host="127.0.0.1",
                namespace=NAMESPACE,
                logging_level=logging.ERROR,
                log_to_driver=False,
                # Ray hands workers with a runtime environment to bash, the interpreter unquoted: in
                # a directory with a space in its name they would never start.
                runtime_env={"py_executable": shlex.quote(sys.executable)},
                **options,  # type: ignore[arg-type]
            )
    except Exception as error:  # boundary: Ray raises anything from ValueError to gRPC errors
        raise ClusterError(
            f"Ray could not start on this machine ({first_line(error)}). "
            "Check free memory, free space in the temporary folder and /dev/shm."
        ) from error


def _init_connection(address: str) -> None:
    import ray

    try:
        with own_signals():
            ray.init(
                address=address,
                namespace=NAMESPACE,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
    except Exception as error:  # boundary, as above
        raise explain(error, address) from error


def _connected() -> Cluster:
    import ray

    node = ray._private.worker.global_worker.node
    url = getattr(node, "address_info", {}).get("webui_url") or ""
    return Cluster(ray.get_runtime_context().gcs_address, url)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
