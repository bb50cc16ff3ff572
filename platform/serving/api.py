"""The HTTP interface: OpenAI's image generation, health, models and metrics.

It knows nothing of Ray: a Backend produces pictures, so that the whole interface is tested without
a cluster.
"""

import base64
import json
import time
from collections.abc import Mapping
from typing import Any, Protocol

from nitrogen.platform.serving.edge import Edge, EdgePolicy
from nitrogen.platform.serving.measures import RequestMeasures
from nitrogen.platform.serving.problems import (
    Problem,
    ProblemError,
    internal,
    invalid,
    not_ready,
    problem_response,
)
from nitrogen.platform.serving.protocol import GenerationRequest, parse_request


class Backend(Protocol):
    """Where pictures come from."""

    async def generate(self, request: dict[str, Any]) -> dict[str, Any]:
        """{"images": [{"png", "seed", "metrics"}], "model": {...}} or {"problem": {...}}."""

    async def describe(self) -> list[dict[str, Any]]:
        """One `Replica.describe()` per replica that answers; empty if none is ready."""


def build_api(backend: Backend, policy: EdgePolicy) -> Any:
    """The ASGI application around a backend."""
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse, PlainTextResponse, Response
    from starlette.exceptions import HTTPException

    api = FastAPI(title="NitroGen", docs_url=None, redoc_url=None)
    measures = RequestMeasures()

    @api.post("/v1/images/generations", openapi_extra=_openapi())
    async def generations(request: Request) -> Response:
        started = time.perf_counter()
        try:
            wanted, as_png = _parse(request.headers, await request.body())
            outcome = await backend.generate(wanted.for_generator())
            if "problem" in outcome:
                raise ProblemError(Problem(**outcome["problem"]))
        except ProblemError as error:
            measures.count(str(error.problem.status), time.perf_counter() - started)
            raise
        measures.count("200", time.perf_counter() - started, outcome["images"])
        if as_png:
            image = outcome["images"][0]
            return Response(image["png"], media_type="image/png", headers=_png_headers(outcome))
        return JSONResponse(_answer(outcome))

    @api.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": _models(await backend.describe())}

    @api.get("/health/live")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @api.get("/health/ready")
    async def ready() -> dict[str, Any]:
        replicas = await backend.describe()
        if not replicas:
            raise ProblemError(not_ready())
        return {
            "status": "ready",
            "replicas": len(replicas),
            "models": sorted({str(replica["model"]["version"]) for replica in replicas}),
            "rejected": [replica["rejected"] for replica in replicas if replica["rejected"]],
        }

    @api.get("/metrics")
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse(measures.render(), media_type="text/plain; version=0.0.4")

    def answer(request: Request, problem: Problem) -> Response:
        return problem_response(problem, request.scope["state"]["request_id"])

    @api.exception_handler(ProblemError)
    async def on_problem(request: Request, error: ProblemError) -> Response:
        return answer(request, error.problem)

    @api.exception_handler(Exception)
    async def on_failure(request: Request, error: Exception) -> Response:
        return answer(request, internal())

    @api.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
        message = (
            f"{request.method} {request.url.path[:100]} must be a route of this endpoint, but is "
            "not. Try POST /v1/images/generations."
        )
        return answer(request, Problem(error.status_code, code, message))

    return Edge(api, policy)


def _parse(headers: Mapping[str, str], body: bytes) -> tuple[GenerationRequest, bool]:
    """The validated request, and whether the bare PNG is wanted."""
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        message = f"Content-Type must be application/json, got {content_type[:40]!r}. Send JSON."
        raise ProblemError(Problem(415, "unsupported_media_type", message))
    try:
        decoded = json.loads(body, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        message = 'The body must be valid JSON, e.g. {"class": "cat", "seed": 1}.'
        raise ProblemError(invalid(None, message, "invalid_json")) from None
    request = parse_request(decoded)
    accept = headers.get("accept", "")
    as_png = request.response_format == "png" or accept.strip().lower().startswith("image/png")
    if as_png and request.n != 1:
        message = f"n must be 1 for a bare PNG, got {request.n}. Use response_format b64_json."
        raise ProblemError(invalid("n", message))
    return request, as_png


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _answer(outcome: dict[str, Any]) -> dict[str, Any]:
    """OpenAI's shape, with seed and compute per picture and in all."""
    return {
        "created": int(time.time()),
        "data": [
            {
                "b64_json": base64.b64encode(image["png"]).decode(),
                "seed": image["seed"],
                "compute": image["metrics"],
            }
            for image in outcome["images"]
        ],
        "output_format": "png",
        "model": outcome["model"],
        "compute": {**_total(outcome["images"]), "budget": outcome.get("budget")},
    }


def _total(images: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums of work and time, the largest number of steps, the mean active fraction."""
    rows = [image["metrics"] for image in images]
    total: dict[str, Any] = {}
    for name in ("gflops", "gflops_full", "ms"):
        total[name] = sum(float(row.get(name) or 0.0) for row in rows)
    total["steps"] = max((int(row.get("steps") or 0) for row in rows), default=0)
    fractions = [float(row.get("active_fraction") or 0.0) for row in rows]
    total["active_fraction"] = sum(fractions) / max(1, len(fractions))
    return total


def _png_headers(outcome: dict[str, Any]) -> dict[str, str]:
    image = outcome["images"][0]
    headers = {
        "x-seed": str(image["seed"]),
        "x-model-version": str(outcome["model"]["version"]),
    }
    for name in ("gflops", "gflops_full", "ms", "steps", "active_fraction"):
        if name in image["metrics"]:
            headers[f"x-compute-{name.replace('_', '-')}"] = f"{image['metrics'][name]:g}"
    return headers


def _models(replicas: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each version that is loaded somewhere, once."""
    by_version = {replica["model"]["version"]: replica for replica in replicas}
    return [
        {
            "id": replica["model"]["name"],
            "object": "model",
            "created": int(replica["loaded_at"]),
            "owned_by": "nitrogen",
            **{key: replica["model"][key] for key in ("version", "digest")},
            **replica["info"],
        }
        for replica in by_version.values()
    ]


def _openapi() -> dict[str, Any]:
    schema = GenerationRequest.model_json_schema(by_alias=True)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
