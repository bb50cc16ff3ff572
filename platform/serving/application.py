"""The Serve application: an ingress for HTTP and a deployment of replicas that sample.

They are apart so that health, refusals and a full queue are answered at once, however busy the
samplers are.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from nitrogen.platform.auth import ApiKeys
from nitrogen.platform.serving.settings import ServingSettings

SAMPLER, INGRESS = "Sampler", "Ingress"
_REPLICA_START_RETRIES = 3
LOGGING = {"log_level": "WARNING", "enable_access_log": False}


class Ingress:
    """Holds the handle to the replicas; Serve asks it for the ASGI application."""

    def __init__(self, sampler: Any, settings: dict[str, Any], edge: dict[str, Any]) -> None:
        self._sampler = sampler
        self._settings = ServingSettings(**settings)
        self._edge = edge

    def __serve_build_asgi_app__(self) -> Any:
        from nitrogen.platform.serving.api import build_api
        from nitrogen.platform.serving.backend import ServeBackend
        from nitrogen.platform.serving.edge import EdgePolicy

        backend = ServeBackend(
            self._sampler,
            timeout_s=self._settings.request_timeout_s,
            max_queued=self._settings.max_queued_requests,
        )
        keys = ApiKeys(tuple(self._edge["key_hashes"]))
        policy = EdgePolicy(keys=keys, loopback_only=self._edge["loopback_only"])
        return build_api(backend, policy)


def build_application(
    settings: ServingSettings, user_config: Mapping[str, Any], edge: Mapping[str, Any]
) -> Any:
    """The bound application; the same settings with another user_config only reconfigure.

    user_config: {"model": ModelRef as dict, "fallback": the same or None, ...}.
    edge: {"key_hashes": [...], "loopback_only": bool}.
    """
    from ray import serve

    from nitrogen.platform.serving.replica import Replica

    sampler = serve.deployment(
        Replica,
        name=SAMPLER,
        user_config=dict(user_config),
        autoscaling_config=_autoscaling(settings),
        ray_actor_options={"num_cpus": settings.num_cpus, "num_gpus": settings.num_gpus},
        max_ongoing_requests=settings.max_ongoing_requests,
        max_queued_requests=settings.max_queued_requests,
        max_constructor_retry_count=_REPLICA_START_RETRIES,
        health_check_period_s=5.0,
        graceful_shutdown_timeout_s=settings.request_timeout_s,
        graceful_shutdown_wait_loop_s=0.5,
        # A restart (other code, other resources) starts the new replica before it stops the old.
        max_surge_percent=100,
    )
    ingress = serve.deployment(
        serve.ingress()(Ingress),
        name=INGRESS,
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=settings.max_queued_requests * 4,
        max_queued_requests=settings.max_queued_requests * 4,
        backpressure_config={"status_code": 503, "retry_after_s": 5},
        graceful_shutdown_wait_loop_s=0.5,
    )
    # Serve draws a random code version at every serve.run and would restart every replica. With
    # the version pinned to what needs a restart, a new user_config is applied in place.
    version = _code_version(settings, edge)
    bound = _pinned(sampler, version).bind(settings.generator, settings.generator_options)
    return _pinned(ingress, version).bind(bound, settings.model_dump(), dict(edge))


def _autoscaling(settings: ServingSettings) -> dict[str, Any]:
    return {
        "min_replicas": settings.min_replicas,
        "initial_replicas": settings.min_replicas,
        "max_replicas": settings.max_replicas,
        "target_ongoing_requests": settings.target_ongoing_requests,
        "upscale_delay_s": settings.upscale_delay_s,
        "downscale_delay_s": settings.downscale_delay_s,
        "policy": {"policy_function": "nitrogen.platform.autoscaling:serve_policy"},
    }


def _pinned(deployment: Any, version: str) -> Any:
    return deployment.options(version=version, _internal=True)


def _code_version(settings: ServingSettings, edge: Mapping[str, Any]) -> str:
    facts = json.dumps([settings.model_dump(), dict(edge)], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()[:16]
