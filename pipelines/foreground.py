"""The endpoint in the foreground: start it, follow the champion, stop it on a signal."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nitrogen.pipelines.champions import ModelSource, model_source
from nitrogen.pipelines.interrupts import Interrupted, interrupts
from nitrogen.pipelines.trained_models import model_directory, newest_run, shipped_name
from nitrogen.platform.errors import NitrogenError

if TYPE_CHECKING:
    from nitrogen.platform.serving.endpoint import Endpoint
    from nitrogen.platform.serving.replica import ModelRef


def serve_foreground(
    run: Path | None,
    *,
    host: str,
    port: int,
    max_replicas: int | None,
    say: Callable[..., None],
) -> None:
    """Serve until SIGINT or SIGTERM: the champion of a run, or the shipped weights without one.

    say: takes a line for people and, by name, the facts of an event for programs.

    Raises what starting can raise: ServingError, ClusterError, BundleError, TrackingError.
    """
    from nitrogen.platform.cluster import start_embedded

    run = run or newest_run()
    source = model_source(run) if run is not None and shipped_name(run) is None else None
    settings = _settings(source, max_replicas)
    executor = source.recipe.executor if source is not None else None
    store = (executor.object_store_mb if executor is not None else 256) * 2**20
    # The clean-up runs inside `interrupts`: a second Ctrl-C must not leave processes behind.
    with contextlib.suppress(Interrupted), interrupts(), contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nitrogen-")))
        model = _champion(source) if source is not None else _shipped(run, folder)
        say(
            f"starting the endpoint for {model.name} version {model.version} ...",
            event="starting", model=model.name, version=model.version,
        )  # fmt: skip
        stack.enter_context(start_embedded(None, store))
        endpoint = stack.enter_context(_started(settings, model, host, port))
        say(
            f"{model.name} version {model.version} answers at {endpoint.url}",
            event="ready", url=endpoint.url, model=model.name, version=model.version,
        )  # fmt: skip
        for line in _greeting(endpoint):
            say(line)
        _follow(source, endpoint, say)


def _settings(source: ModelSource | None, max_replicas: int | None) -> Any:
    from nitrogen.pipelines.steps.serve import ServeConfig

    config = source.recipe.section("serve") if source is not None else ServeConfig()
    settings = config.settings(source.recipe.executor if source is not None else None)
    if max_replicas is None:
        return settings
    upper = max(max_replicas, settings.min_replicas)
    return settings.model_copy(update={"max_replicas": upper})


def _champion(source: ModelSource) -> ModelRef:
    from nitrogen.platform.serving.reconciler import champion_ref

    return champion_ref(source.registry(), source.name, source.local_folder() / "bundles")


def _shipped(run: Path | None, folder: Path) -> ModelRef:
    """The shipped weights as a sealed bundle; the installation itself is left as it is."""
    from nitrogen.model.config_file import CONFIG, read_config
    from nitrogen.model.model_directory import LATE_WEIGHTS, late_weights
    from nitrogen.pipelines.generator import write_golden
    from nitrogen.platform.bundles import write_bundle
    from nitrogen.platform.serving.replica import ModelRef

    weights = model_directory(run)
    bundle = folder / "bundle"
    bundle.mkdir()
    for path in weights.iterdir():
        if path.suffix in (".safetensors", ".json") and path.name != "manifest.json":
            shutil.copyfile(path, bundle / path.name)
    if "relay" in read_config(weights / CONFIG):
        shutil.copyfile(late_weights(weights), bundle / LATE_WEIGHTS)
    write_golden(bundle)  # a replica does not start without: it reproduces them
    digest = write_bundle(bundle, {"shipped": weights.name})
    return ModelRef(weights.name, "shipped", digest, str(bundle))


@contextlib.contextmanager
def _started(settings: Any, model: ModelRef, host: str, port: int) -> Iterator[Endpoint]:
    from nitrogen.platform.serving.endpoint import start

    endpoint = start(settings, model, host=host, port=port)
    try:
        yield endpoint
    finally:
        endpoint.shut_down()


def _greeting(endpoint: Endpoint) -> Iterator[str]:
    body: dict[str, Any] = {"seed": 1, "response_format": "png"}
    with contextlib.suppress(NitrogenError):
        from nitrogen.platform.serving.smoke import first_class

        body = {"class": first_class(endpoint.url), **body}
    yield (
        f"try: curl -s {endpoint.url}/v1/images/generations "
        f"-H 'content-type: application/json' -d '{json.dumps(body)}' -o image.png"
    )
    yield "Ctrl-C stops it."


def _follow(source: ModelSource | None, endpoint: Endpoint, say: Callable[..., None]) -> None:
    """Move the endpoint whenever the champion changes; ends only by a signal."""
    import threading

    if source is None:
        threading.Event().wait()
        return
    from nitrogen.platform.serving.reconciler import Reconciler

    reconciler = Reconciler(
        source.registry(), endpoint, source.name, source.local_folder() / "bundles", source.audit()
    )
    reconciler.watch(
        lambda: False,
        on_change=lambda done: say(done.reason, event=done.action, version=done.version),
    )
