"""Serve: start the champion's endpoint, send one request, check the picture, stop again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from nitrogen.pipelines.executor import ExecutorConfig
from nitrogen.pipelines.steps.promote import registry_uri
from nitrogen.platform.errors import ServingError
from nitrogen.platform.serving.settings import DEFAULT_GENERATOR, ServingSettings

if TYPE_CHECKING:
    from nitrogen.pipelines.context import StepContext
    from nitrogen.platform.serving.endpoint import Endpoint

_PICTURE = "request.png"


class ServeConfig(ServingSettings):
    """The `serve:` section of a recipe: the endpoint's settings and the request that tests it.

    port      0 takes a free one
    request   body of POST /v1/images/generations; by default the first class of the model, and the
              champion's operating point: what was promoted is what is checked
    """

    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65535)
    request: dict[str, Any] = Field(default_factory=lambda: {"seed": 0})

    def settings(self, executor: ExecutorConfig | None = None) -> ServingSettings:
        """The endpoint's part; what it leaves open of GPUs, device and precision of a replica is
        the executor's. A generator of somebody else's gets no options that nobody named."""
        fields = self.model_dump(include=set(ServingSettings.model_fields))
        executor = executor or ExecutorConfig(kind="local")
        if executor.use_gpu and not fields["num_gpus"]:
            fields["num_gpus"] = 1.0
        if self.generator == DEFAULT_GENERATOR:
            device = "cuda" if fields["num_gpus"] else "cpu"
            precision = executor.sampling_precision if executor.device == device else "fp32"
            fields["generator_options"] = {
                "device": device,
                "precision": precision,
                **self.generator_options,
            }
        return ServingSettings(**fields)


def run(config: ServeConfig, context: StepContext) -> dict[str, Any]:
    """Returns url, request {class, seed, ms, compute, image, ...}, model {name, version, digest}.

    An endpoint that runs on the cluster already is moved to the champion and asked; otherwise one
    is started and stopped again. Without a champion (the gates refused the first one) there is
    nothing to serve: then `skipped` says so. Raises: ServingError, BundleError, TrackingError.
    """
    from nitrogen.platform.cluster import start_embedded

    if context.inputs["promote"].get("champion") is None:
        reason = "no version passed the gates yet, so there is nothing to serve"
        context.progress.message(reason)
        return {"skipped": reason, "request": None}
    store_bytes = context.settings.object_store_mb * 2**20
    with start_embedded(context.settings.num_cpus, store_bytes):
        running = _find(config.app_name)
        if running is not None:
            _follow(running, context)
            return check(running, config, context, kept=True)
        endpoint = _start(config, context)
        try:
            return check(endpoint, config, context, kept=False)
        finally:
            endpoint.shut_down()


def _find(app_name: str) -> Endpoint | None:
    from nitrogen.platform.serving.endpoint import attach

    return attach(app_name)


def _start(config: ServeConfig, context: StepContext) -> Endpoint:
    from nitrogen.platform.registry import Registry, local_folder
    from nitrogen.platform.serving.endpoint import start
    from nitrogen.platform.serving.reconciler import champion_ref

    name, uri = _model(context)
    model = champion_ref(Registry(uri), name, local_folder(uri) / "bundles")
    if context.mirror is not None:  # replicas may start on any node
        model = replace(model, source=context.for_workers(model.source))
    context.progress.message(f"serving version {model.version} of {name}")
    settings = config.settings(context.settings)
    return start(settings, model, host=config.host, port=config.port)


def _follow(endpoint: Endpoint, context: StepContext) -> None:
    """Move a running endpoint to the champion. Raises: ServingError if it refuses."""
    from nitrogen.platform.audit import AuditLog
    from nitrogen.platform.registry import Registry, local_folder
    from nitrogen.platform.serving.reconciler import Reconciler

    name, uri = _model(context)
    folder = local_folder(uri)
    audit = AuditLog(folder / "audit.jsonl")
    reconciler = Reconciler(Registry(uri), endpoint, name, folder / "bundles", audit)
    done = reconciler.reconcile()
    context.progress.message(f"endpoint {endpoint.url}: {done.reason}")
    if done.action == "refused":
        raise ServingError(
            f"endpoint {endpoint.url} must move to the champion, but {done.reason}. "
            "It serves the old version; run nitrogen rollback or promote another one."
        )


def check(
    endpoint: Endpoint, config: ServeConfig, context: StepContext, kept: bool
) -> dict[str, Any]:
    """Sends one request to the endpoint and returns what `run` does."""
    from nitrogen.platform.serving.smoke import first_class, smoke_check, wait_until_ready

    key = _first_key()
    wait_until_ready(endpoint.url)
    body = dict(config.request)
    if "class" not in body and "prompt" not in body:
        body["class"] = first_class(endpoint.url, key)
    body = at_point(body, champion_point(context), context)
    timeout_s = config.request_timeout_s + 30.0
    result = smoke_check(endpoint.url, body, api_key=key, timeout_s=timeout_s)
    picture = Path(context.dir) / _PICTURE
    picture.write_bytes(result.png)
    context.progress.message(
        f"one request: {result.width}x{result.height} PNG in {result.ms:.0f} ms, "
        f"{result.compute['gflops']:.3g} GFLOPs"
    )
    return {
        "url": endpoint.url,
        "kept_running": kept,
        "model": result.model,
        "request": {
            **body,
            "seed": result.seed,
            "ms": result.ms,
            "width": result.width,
            "height": result.height,
            "compute": result.compute,
            "image": str(picture),
        },
    }


def champion_point(context: StepContext) -> dict[str, Any]:
    """What the champion was measured with; nothing where it was registered without, as by an older
    version."""
    from nitrogen.platform.registry import CHAMPION, POINT_TAG, Registry

    name, uri = _model(context)
    return json.loads(Registry(uri).get(name, CHAMPION).tags.get(POINT_TAG, "{}"))


def at_point(body: dict[str, Any], point: dict[str, Any], context: StepContext) -> dict[str, Any]:
    """The request at an operating point, unless the recipe's request names a dial of its own. A
    point that lies outside of what may be asked for over HTTP is said and left out; its solver is
    the bundle's, and served without being asked for."""
    from nitrogen.platform.serving.problems import ProblemError
    from nitrogen.platform.serving.protocol import parse_request

    if body.keys() & {"policy", "budget", "threshold"}:
        return body
    dials = {name: value for name, value in point.items() if value is not None}
    dials.pop("solver", None)
    asked = {**dials, **body}
    try:
        parse_request(asked)
    except ProblemError as error:
        context.progress.message(f"checked at full width, not as it was measured: {error}")
        return body
    return asked


def _model(context: StepContext) -> tuple[str, str]:
    """Registered name and registry of the promoted model."""
    return str(context.inputs["promote"]["name"]), registry_uri(context)


def _first_key() -> str | None:
    """A plain key of the environment, for our own request; None if there is none."""
    import os

    from nitrogen.platform.auth import API_KEYS_VARIABLE

    for entry in os.environ.get(API_KEYS_VARIABLE, "").split(","):
        if entry.strip() and not entry.strip().startswith("sha256:"):
            return entry.strip()
    return None
