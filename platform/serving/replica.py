"""One replica: holds a generator, samples off the event loop, swaps models in place.

The next model is loaded and self-tested beside the old one; only then do new requests go to it,
while those that run finish on the old one. A model that does not load or does not reproduce its
golden pictures is reported and the old one stays.
"""

import asyncio
import importlib
import inspect
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nitrogen.platform.bundles import verify_bundle
from nitrogen.platform.errors import BundleError, ServingError
from nitrogen.platform.serving.problems import Problem, deadline_exceeded, internal, invalid
from nitrogen.platform.serving.protocol import (
    MAX_SEED,
    GeneratedImage,
    Generator,
    check_against_model,
)
from nitrogen.platform.storage_copies import local_copy

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class ModelRef:
    """Which bundle to serve.

    `source` is its directory, or an s3:// prefix. Where it is empty or not there, the bundle is
    fetched from the registry at `tracking_uri` into `cache` (default: the registry's folder).
    """

    name: str
    version: str
    digest: str
    source: str = ""
    tracking_uri: str = ""
    cache: str = ""


@dataclass(frozen=True)
class _Loaded:
    reference: ModelRef
    generator: Generator
    info: dict[str, Any]
    loaded_at: float


class Replica:
    """The Serve deployment; `load_path` is "package.module:function" (see Generator), `options`
    are its keyword arguments."""

    def __init__(self, load_path: str, options: Mapping[str, Any] | None = None) -> None:
        self._load = partial(load_model, load_path=load_path, options=dict(options or {}))
        self._loaded: _Loaded | None = None
        self._rejected: dict[str, Any] | None = None
        # One sampler at a time: a second one on the same cores would only slow both down.
        self._sampler = ThreadPoolExecutor(1, thread_name_prefix="sampler")

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Move to user_config["model"]; a replica that is new may fall back to ["fallback"].

        Serve replaces a replica whose reconfigure raises, so a running one never raises.
        """
        reference = ModelRef(**user_config["model"])
        if self._loaded is not None and self._loaded.reference == reference:
            self._rejected = None
            return
        try:
            self._loaded = await asyncio.to_thread(self._load, reference)
            self._rejected = None
        except Exception as error:
            reason = _sentence(error)
            logger.error("version %s was not loaded: %s", reference.version, reason)
            self._rejected = {"version": reference.version, "reason": reason}
            if self._loaded is None:
                self._loaded = await self._load_fallback(user_config.get("fallback"), error)

    async def _load_fallback(self, fallback: Mapping[str, Any] | None, error: Exception) -> _Loaded:
        if fallback is None:
            raise ServingError(_sentence(error)) from error
        return await asyncio.to_thread(self._load, ModelRef(**fallback))

    async def generate(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Answer a validated request: pictures, or a problem (never an exception for a user)."""
        arrived = time.monotonic()
        loaded = self._loaded
        if loaded is None:
            raise ServingError("A replica must have a model before it gets requests.")
        if problem := check_against_model(request, loaded.info):
            return {"problem": problem.as_dict()}
        cancelled = threading.Event()

        def should_stop() -> bool:
            return cancelled.is_set() or time.monotonic() - arrived > timeout_s

        loop = asyncio.get_running_loop()
        task = loop.run_in_executor(self._sampler, _sample, loaded.generator, request, should_stop)
        try:
            images, queue_ms = await task
        except asyncio.CancelledError:
            cancelled.set()  # the sampler sees it at its next step
            raise
        except Exception as error:
            problem = deadline_exceeded(timeout_s) if should_stop() else _to_problem(error)
            return {"problem": problem.as_dict()}
        if should_stop():
            return {"problem": deadline_exceeded(timeout_s).as_dict()}
        return {
            "images": [
                {"png": image.png, "seed": (request["seed"] + i) % (MAX_SEED + 1), **_cost(image)}
                for i, image in enumerate(images)
            ],
            "model": _public(loaded.reference),
            "budget": request.get("budget"),
            "queue_ms": queue_ms - arrived * 1e3,
        }

    async def describe(self) -> dict[str, Any]:
        """What is loaded, and what was refused last and why."""
        loaded = self._loaded
        if loaded is None:
            raise ServingError("A replica must have a model before it is asked for it.")
        return {
            "model": _public(loaded.reference),
            "info": loaded.info,
            "loaded_at": loaded.loaded_at,
            "rejected": self._rejected,
            "pid": os.getpid(),
        }

    def check_health(self) -> None:
        if self._loaded is None:
            raise ServingError("A replica must have a model to be healthy.")


def load_model(
    reference: ModelRef, load_path: str, options: Mapping[str, Any] | None = None
) -> _Loaded:
    """Verify the bundle, load its generator, run its self-test.

    Raises: BundleError, ServingError, or what the generator raises.
    """
    directory = fetch_bundle(reference)
    load = import_load_generator(load_path)
    check_options(load, options or {}, load_path)
    generator = load(directory, **(options or {}))
    generator.self_test()
    return _Loaded(reference, generator, dict(generator.info()), time.time())


def fetch_bundle(reference: ModelRef) -> Path:
    """The verified local directory of a bundle."""
    if reference.source.startswith("s3://"):
        directory = local_copy(reference.source)
        verify_bundle(directory, reference.digest)
        return directory
    # On another node than the one that fetched it, the directory is not there.
    if reference.source and (Path(reference.source).is_dir() or not reference.tracking_uri):
        verify_bundle(reference.source, reference.digest)
        return Path(reference.source)
    if not reference.tracking_uri:
        raise BundleError(
            f"version {reference.version} of model {reference.name!r} must have a directory or a "
            "registry to come from, got neither. Name the bundle's directory."
        )
    from nitrogen.platform.registry import Registry, local_folder

    cache = reference.cache or local_folder(reference.tracking_uri) / "bundles"
    registry = Registry(reference.tracking_uri)
    directory = registry.download(reference.name, reference.version, cache)
    verify_bundle(directory, reference.digest)
    return directory


def check_options(
    load: Callable[..., Generator], options: Mapping[str, Any], load_path: str
) -> None:
    """Raises ServingError for an option that the generator's function does not take."""
    try:
        inspect.signature(load).bind(Path(), **options)
    except TypeError as error:
        raise ServingError(
            f"serve.generator_options must be arguments of {load_path}, got "
            f"{', '.join(options) or 'none'} ({error}). Correct the names."
        ) from None


def import_load_generator(load_path: str) -> Callable[..., Generator]:
    module, _, function = load_path.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ServingError(
            f"serve.generator must be an importable package.module:function, got {load_path!r} "
            f"({error}). Install the package that holds it."
        ) from error


def _sample(
    generator: Generator, request: dict[str, Any], should_stop: Callable[[], bool]
) -> tuple[list[GeneratedImage], float]:
    """Runs in the sampler's thread; returns the pictures and the start on the monotonic clock."""
    started_ms = time.monotonic() * 1e3
    if should_stop():
        return [], started_ms  # waited too long for its turn: costs nothing more
    result = generator.generate(request, should_stop)
    images = [result] if isinstance(result, GeneratedImage) else list(result)
    return images, started_ms


def _to_problem(error: Exception) -> Problem:
    """Errors of the two trees carry a sentence for the user; others stay in the log."""
    if hasattr(error, "exit_code"):
        return invalid(None, str(error), "refused_by_model")
    logger.error("sampling failed", exc_info=error)
    return internal()


def _cost(image: GeneratedImage) -> dict[str, Any]:
    return {"metrics": dict(image.metrics)}


def _public(reference: ModelRef) -> dict[str, Any]:
    facts = asdict(reference)
    return {key: facts[key] for key in ("name", "version", "digest")}


def _sentence(error: Exception) -> str:
    if hasattr(error, "exit_code"):
        return str(error)
    return f"{type(error).__name__}: {str(error)[:300]}"
