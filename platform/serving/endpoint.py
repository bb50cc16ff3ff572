"""A running endpoint: start it, attach to it, move it to another version, stop it."""

import contextlib
import os
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nitrogen.platform.auth import check_bind, is_loopback, load_api_keys
from nitrogen.platform.errors import ServingError
from nitrogen.platform.serving.application import LOGGING, SAMPLER, build_application
from nitrogen.platform.serving.proxy import forget_client, serve_client, start_proxy
from nitrogen.platform.serving.replica import ModelRef
from nitrogen.platform.serving.settings import ServingSettings

_POLL_S = 0.25


@dataclass(frozen=True)
class MoveResult:
    """`reason` says why the endpoint stayed where it was; empty if it moved."""

    moved: bool
    reason: str = ""


@dataclass(frozen=True)
class Endpoint:
    """A handle on the running application; cheap to make, holds no connection."""

    settings: ServingSettings
    edge: dict[str, Any]
    host: str
    port: int

    @property
    def url(self) -> str:
        shown = "127.0.0.1" if self.host in ("0.0.0.0", "::", "localhost") else self.host
        return f"http://{shown}:{self.port}"

    def model(self) -> ModelRef | None:
        """The version that the endpoint was told to serve, or None if it is not running."""
        config = _user_config(self.settings.app_name)
        return ModelRef(**config["model"]) if config else None

    def move(self, model: ModelRef, timeout_s: float = 120.0) -> MoveResult:
        """Bring every replica to `model` without a restart; on any refusal, back to the old one.

        Raises: ServingError if the endpoint is not running.
        """
        old = self.model()
        if old is None:
            raise ServingError(
                f"endpoint {self.settings.app_name!r} must be running to be moved, but is not. "
                "Start it with: nitrogen serve"
            )
        try:
            # The fallback stays: a replica that starts later and cannot load `model` still serves.
            self._apply(model, fallback=old)
            reason = self._await(model, timeout_s)
        except ServingError as error:
            reason = str(error)
        if reason is None:
            return MoveResult(moved=True)
        self._apply(old, fallback=None)
        return MoveResult(moved=False, reason=reason)

    def describe(self, timeout_s: float = 10.0) -> list[dict[str, Any]]:
        """`Replica.describe()` of every running replica; empty if none answers."""
        from ray import serve
        from ray.exceptions import RayError

        handle = serve.get_deployment_handle(SAMPLER, self.settings.app_name)
        try:
            response = handle.broadcast("describe")
            answers = response.results(timeout_s=timeout_s, return_exceptions=True)
        except (serve.exceptions.RayServeException, RayError, TimeoutError):
            return []
        return [answer for answer in answers if isinstance(answer, dict)]

    def stop(self) -> None:
        """Take the application away; other applications of the cluster stay."""
        from ray import serve

        with contextlib.suppress(serve.exceptions.RayServeException):
            serve.delete(self.settings.app_name)

    def shut_down(self) -> None:
        """Take the application away, and Serve with it if nothing else uses it.

        On a Ray that this process started, Serve is left to the end of that Ray: stopping it by
        itself makes Ray print its controller's death as an error.
        """
        import ray
        from ray import serve

        self.stop()
        node = ray._private.worker._global_node
        if node is not None and node.is_head():
            forget_client()
        elif not serve.status().applications:
            serve.shutdown()

    def _apply(self, model: ModelRef, fallback: ModelRef | None) -> None:
        from ray import serve

        config = {
            "model": asdict(model),
            "fallback": asdict(fallback) if fallback else None,
            "endpoint": {
                "settings": self.settings.model_dump(),
                "edge": self.edge,
                "host": self.host,
                "port": self.port,
            },
        }
        application = build_application(self.settings, config, self.edge)
        try:
            serve.run(
                application,
                name=self.settings.app_name,
                route_prefix="/",
                logging_config=LOGGING,
            )
        except RuntimeError as error:
            raise ServingError(
                f"endpoint must load version {model.version} of model {model.name!r}, but did not: "
                f"{_failure(self.settings.app_name, error)}. Check the bundle and the free memory."
            ) from error

    def _await(self, model: ModelRef, timeout_s: float) -> str | None:
        """None once every replica serves `model`; otherwise why not."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            replicas = self.describe()
            for replica in replicas:
                rejected = replica["rejected"]
                if rejected and rejected["version"] == model.version:
                    return str(rejected["reason"])
            if replicas and all(
                replica["model"]["version"] == model.version
                and replica["model"]["digest"] == model.digest
                for replica in replicas
            ):
                return None
            time.sleep(_POLL_S)
        return f"the replicas did not load it within {timeout_s:g} s"


def start(
    settings: ServingSettings,
    model: ModelRef,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    environment: Mapping[str, str] | None = None,
) -> Endpoint:
    """Start the application on the connected Ray cluster and return once it answers.

    `port` 0 takes a free one. API keys come from NITROGEN_API_KEYS. Raises: ConfigError if `host`
    is not a loopback address and no key is set, ServingError if the model does not load.
    """
    import ray

    keys = load_api_keys(environment)
    check_bind(host, keys)
    if not ray.is_initialized():
        raise ServingError("Ray must be connected before an endpoint is started. Start it first.")
    if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY", "0") not in ("", "0"):
        raise ServingError(
            "RAY_SERVE_ENABLE_HA_PROXY must be off: HAProxy listens on every interface. Unset it."
        )
    port = start_proxy(host, port, settings.request_timeout_s)
    edge = {"key_hashes": list(keys.hashes), "loopback_only": is_loopback(host)}
    endpoint = Endpoint(settings, edge, host, port)
    try:
        endpoint._apply(model, fallback=None)
    except ServingError:
        endpoint.shut_down()
        raise
    return endpoint


def attach(app_name: str = "nitrogen") -> Endpoint | None:
    """The endpoint that runs on the connected cluster, or None."""
    config = _user_config(app_name)
    if config is None:
        return None
    known = config["endpoint"]
    return Endpoint(
        ServingSettings(**known["settings"]), known["edge"], known["host"], known["port"]
    )


def _user_config(app_name: str) -> dict[str, Any] | None:
    """What the replicas were last told, read from Serve's controller."""
    from ray import serve

    client = serve_client()
    if client is None:
        return None
    try:
        info, _route = client.get_deployment_info(SAMPLER, app_name)
    except (serve.exceptions.RayServeException, KeyError):
        return None
    return dict(info.deployment_config.user_config)


def _failure(app_name: str, error: Exception) -> str:
    """The sentence of the exception that a replica died of; Serve keeps its traceback as text."""
    from ray import serve

    application = serve.status().applications.get(app_name)
    sampler = application.deployments.get(SAMPLER) if application else None
    text = sampler.message if sampler and sampler.message else str(error)
    raised = re.findall(r"^(?:[\w.]+\.)?\w*(?:Error|Exception): (.+)$", text, flags=re.MULTILINE)
    lines = raised or [line for line in text.splitlines() if line.strip()] or [repr(error)]
    return lines[-1].strip().rstrip(".")[:300]
