"""Serve's HTTP proxy on this cluster: started once, on an address that is free and allowed."""

import logging
import socket
from typing import Any

from nitrogen.platform.errors import ServingError
from nitrogen.platform.serving.application import LOGGING

_PROXY_MARGIN_S = 10.0


def start_proxy(host: str, port: int, request_timeout_s: float) -> int:
    """Start Serve's HTTP proxy, or take the one that runs; returns its port."""
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    client = serve_client()
    if client is not None:
        running = client.http_config
        if port not in (0, running.port) or host != running.host:
            raise ServingError(
                f"serve.host and serve.port must be {running.host} and {running.port}, where Serve "
                f"listens on this cluster already, got {host} and {port}. Use those."
            )
        return int(running.port)
    port = port or free_port(host)
    check_port(host, port)
    serve.start(
        proxy_location="HeadOnly",
        logging_config=LOGGING,
        http_options={
            "host": host,
            "port": port,
            # The ingress has its own deadline; Serve's is the net below it.
            "request_timeout_s": request_timeout_s + _PROXY_MARGIN_S,
        },
    )
    return port


def serve_client() -> Any:
    """Serve's own client, or None if Serve does not run on the connected cluster."""
    import ray
    from ray.serve.context import _check_cached_client_alive, _get_global_client

    if not ray.is_initialized():
        return None
    # Serve keeps its client by job id, which is the same for the first driver of every cluster:
    # one of an earlier Ray of this process would pass for the present one.
    client, _ = _check_cached_client_alive()
    return client or _get_global_client(raise_if_no_controller_running=False)


def forget_client() -> None:
    """Let Serve look its controller up again; called before the Ray under it may end."""
    from ray.serve.context import _disconnect

    _disconnect()


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def check_port(host: str, port: int) -> None:
    """Raises: ServingError if something else listens there (Serve would only log it)."""
    with socket.socket(_family(host)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServingError(
                f"serve.port must be free on {host}, got {port} ({error.strerror}). "
                "Choose another port, or 0 for any."
            ) from None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
