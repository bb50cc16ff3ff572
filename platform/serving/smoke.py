"""One request to a running endpoint, checked: what `make demo` does before it stops serving."""

import base64
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from nitrogen.platform.errors import ServingError

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class SmokeResult:
    """The first picture, what the endpoint said about it, and how long the request took."""

    png: bytes
    width: int
    height: int
    ms: float
    compute: dict[str, Any]
    model: dict[str, Any]
    seed: int


def wait_until_ready(url: str, timeout_s: float = 30.0) -> dict[str, Any]:
    """The body of /health/ready once it is 200. Raises: ServingError."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return _call(f"{url}/health/ready", None, None, timeout_s=5.0)
        except ServingError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.25)


def smoke_check(
    url: str, request: dict[str, Any], *, api_key: str | None = None, timeout_s: float = 120.0
) -> SmokeResult:
    """Send one generation request and check that a picture comes back.

    Raises: ServingError with the endpoint's own sentence.
    """
    wait_until_ready(url)
    started = time.perf_counter()
    answer = _call(f"{url}/v1/images/generations", request, api_key, timeout_s)
    elapsed_ms = (time.perf_counter() - started) * 1e3
    first = answer["data"][0]
    png = base64.b64decode(first["b64_json"], validate=True)
    if not png.startswith(_PNG_SIGNATURE) or png[12:16] != b"IHDR":
        raise ServingError("The endpoint must answer with a PNG, but did not. Look at its log.")
    return SmokeResult(
        png=png,
        width=int.from_bytes(png[16:20], "big"),
        height=int.from_bytes(png[20:24], "big"),
        ms=elapsed_ms,
        compute=answer["compute"],
        model=answer["model"],
        seed=first["seed"],
    )


def first_class(url: str, api_key: str | None = None) -> str:
    """The first class that the served model knows. Raises: ServingError."""
    models = _call(f"{url}/v1/models", None, api_key, timeout_s=10.0)["data"]
    if not models or not models[0].get("classes"):
        raise ServingError("The endpoint must list a model with classes, but lists none.")
    return str(models[0]["classes"][0])


def _call(url: str, body: dict[str, Any] | None, api_key: str | None, timeout_s: float) -> Any:
    request = urllib.request.Request(url)
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    if api_key:
        request.add_header("Authorization", f"Bearer {api_key}")
    # A proxy of the environment must not see requests to this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout_s) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise ServingError(f"{url} answered {error.code}: {_message(error)}") from None
    except (OSError, ValueError) as error:
        raise ServingError(f"{url} must answer, but did not ({error}). Is it running?") from None


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return error.reason
