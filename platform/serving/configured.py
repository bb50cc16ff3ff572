"""The Serve application for a config file: `import_path` of `serve deploy` and of a RayService.

Its arguments name a model and an alias; which version that is, the registry says when the
application is built. It answers on every interface, so it wants API keys.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from nitrogen.platform.auth import check_bind, load_api_keys
from nitrogen.platform.errors import ConfigError
from nitrogen.platform.registry import Registry
from nitrogen.platform.serving.application import build_application
from nitrogen.platform.serving.replica import ModelRef
from nitrogen.platform.serving.settings import ServingSettings

HOST = "0.0.0.0"
KEYS = {"model", "alias", "tracking_uri", "port", "settings"}


def application(args: Mapping[str, Any]) -> Any:
    """The bound application that serves `model@alias`.

    args: model (name in the registry), alias ("champion"), tracking_uri (default:
    MLFLOW_TRACKING_URI), port (of the proxy, 8000), settings (fields of ServingSettings). API keys
    come from NITROGEN_API_KEYS. Raises ConfigError, TrackingError.
    """
    unknown = set(args) - KEYS
    uri = args.get("tracking_uri") or os.environ.get("MLFLOW_TRACKING_URI")
    if unknown or not uri or not args.get("model"):
        raise ConfigError(
            f"args must have model, and tracking_uri unless MLFLOW_TRACKING_URI is set, got "
            f"{sorted(args)}. Known: {', '.join(sorted(KEYS))}."
        )
    keys = load_api_keys()
    check_bind(HOST, keys)
    settings = ServingSettings(**(args.get("settings") or {}))
    edge = {"key_hashes": list(keys.hashes), "loopback_only": False}
    port = int(args.get("port", 8000))
    endpoint = {"settings": settings.model_dump(), "edge": edge, "host": HOST, "port": port}
    version = Registry(uri).get(args["model"], args.get("alias", "champion"))
    model = ModelRef(version.name, version.version, version.digest, tracking_uri=uri)
    user_config = {"model": asdict(model), "fallback": None, "endpoint": endpoint}
    return build_application(settings, user_config, edge)
