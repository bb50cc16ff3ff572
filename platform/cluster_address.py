"""Is a cluster there, does it take our token, and what does Ray's error mean in one sentence."""

from __future__ import annotations

import os
import socket

from nitrogen.platform.errors import ClusterError


def check_listening(address: str, timeout_s: float = 5.0) -> None:
    """Raise ClusterError unless something accepts connections at "host:port"."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ClusterError(
            f"address must be host:port, got {address}. Give for example 10.0.0.1:6379."
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s):
            pass
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster answers at {address} ({error}). "
            "Check that the cluster runs and that this machine may reach it."
        ) from error


def check_token(address: str, token: str | None, timeout_s: float = 10.0) -> None:
    """Raise ClusterError when the head at `address` refuses the token.

    Ray itself retries a refused token for 20 s and prints each try.
    """
    if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
        return
    import grpc
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    with grpc.insecure_channel(address) as channel:
        head = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        metadata = [("authorization", f"Bearer {token}")] if token else []
        try:
            question = gcs_service_pb2.GetClusterIdRequest()  # type: ignore[attr-defined]
            head.GetClusterId(question, metadata=metadata, timeout=timeout_s)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                raise refused(address) from error
            raise ClusterError(
                f"no Ray head answers at {address} ({error.code().name.lower()}). "
                "Give the port of the head (6379 by default), not that of its dashboard."
            ) from error


def refused(address: str) -> ClusterError:
    """The sentence for a token that is wrong or missing."""
    return ClusterError(
        f"the cluster at {address} refused the token. "
        "Set RAY_AUTH_TOKEN_PATH to a file with the cluster's token."
    )


def explain(error: BaseException, address: str) -> ClusterError:
    """One sentence for what Ray raised while reaching `address`."""
    text = str(error)
    lowered = text.lower()
    if "version mismatch" in lowered:
        import ray

        return ClusterError(
            f"the cluster at {address} must run Ray {ray.__version__} on the same Python version, "
            "but it runs another. Install the same versions on both sides."
        )
    if type(error).__name__ == "AuthenticationError" or any(
        word in lowered for word in ("unauthenticated", "authentication", "invalid token")
    ):
        return refused(address)
    return ClusterError(
        f"the cluster at {address} could not be reached ({first_line(error)}). "
        "Check the address and that the cluster runs."
    )


def first_line(error: BaseException) -> str:
    """First line of a message, without its full stop, to stand inside a sentence."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")
