"""The first thing that sees a request: ASGI middleware for ids, hosts, keys, sizes and headers.

Ray Serve's proxy obeys two headers of any client: `x-request-timeout-seconds` (a negative value
switches the time limit off) and `x-request-disconnect-disabled` (computes on after the client has
gone). The proxy cannot be told otherwise, so a request that carries one is refused here, before it
costs anything; the sampler keeps its own deadline besides.
"""

import logging
import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from nitrogen.platform.auth import ApiKeys, is_loopback
from nitrogen.platform.serving.problems import Problem, internal, invalid, problem_response

logger = logging.getLogger("ray.serve")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

REFUSED_HEADERS = ("x-request-timeout-seconds", "x-request-disconnect-disabled")
OPEN_PATHS = ("/health/live", "/health/ready")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SAFE_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}


@dataclass(frozen=True)
class EdgePolicy:
    """`echo_request_id` is off behind Serve's proxy, which adds the header itself."""

    keys: ApiKeys = field(default_factory=ApiKeys)
    loopback_only: bool = True
    max_body_bytes: int = 64 << 10
    echo_request_id: bool = False


class Edge:
    """Wraps the API; everything that it refuses is answered with a Problem."""

    def __init__(self, app: Any, policy: EdgePolicy) -> None:
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {key.decode("latin-1").lower(): value for key, value in scope["headers"]}
        request_id = _request_id(headers)
        scope.setdefault("state", {})["request_id"] = request_id

        started = finished = False

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            nonlocal started, finished
            finished = message["type"] == "http.response.body" and not message.get("more_body")
            if message["type"] == "http.response.start":
                started = True
                extra = dict(_SAFE_HEADERS)
                if self._policy.echo_request_id:
                    extra["x-request-id"] = request_id
                message["headers"] = [
                    *message.get("headers", ()),
                    *((key.encode(), value.encode()) for key, value in extra.items()),
                ]
            await send(message)

        problem = self._refuse(scope, headers)
        if problem is None:
            try:
                body = await self._read_body(scope["method"], headers, receive)
            except _BodyTooLargeError:
                problem = Problem(
                    413,
                    "body_too_large",
                    f"The body must be at most {self._policy.max_body_bytes} bytes. Shorten it.",
                )
        if problem is None:
            try:
                await self._app(scope, _replay(body, receive), send_with_headers)
                return
            except Exception:
                # The process boundary: details belong in the log, never in the answer.
                logger.exception("request %s failed", request_id)
                if finished:
                    return
                if started:
                    raise
                problem = internal()
        await problem_response(problem, request_id)(scope, receive, send_with_headers)

    def _refuse(self, scope: Scope, headers: dict[str, bytes]) -> Problem | None:
        for name in REFUSED_HEADERS:
            if name in headers:
                message = f"Header {name} must not be sent by a client. Leave it out."
                return invalid(None, message, "header_not_allowed")
        host = headers.get("host", b"").decode("latin-1")
        if self._policy.loopback_only and not is_loopback(_host_name(host)):
            # A web page can resolve its own name to 127.0.0.1 (DNS rebinding).
            message = f"Host must be a loopback name, got {host[:60]!r}. Use 127.0.0.1."
            return Problem(403, "host_not_allowed", message)
        if self._policy.loopback_only and "origin" in headers:
            origin = headers["origin"].decode("latin-1")
            if not is_loopback(_host_name(origin.partition("://")[2])):
                message = f"Origin must be a loopback name, got {origin[:60]!r}. Use no browser."
                return Problem(403, "origin_not_allowed", message)
        if scope["path"] not in OPEN_PATHS and not self._policy.keys.accepts(
            *(_text(headers.get(name)) for name in ("authorization", "x-api-key"))
        ):
            return Problem(
                401,
                "invalid_api_key",
                "An API key must be sent. Send the header 'Authorization: Bearer KEY'.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return None

    async def _read_body(self, method: str, headers: dict[str, bytes], receive: Receive) -> bytes:
        if method in ("GET", "HEAD", "OPTIONS"):
            return b""
        limit = self._policy.max_body_bytes
        declared = _text(headers.get("content-length")) or "0"
        if declared.isdigit() and int(declared[:18]) > limit:
            raise _BodyTooLargeError
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return body
            body += message.get("body", b"")
            if len(body) > limit:
                raise _BodyTooLargeError
            if not message.get("more_body"):
                return body


class _BodyTooLargeError(Exception):
    pass


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body that was read, then whatever the server says next (a disconnect)."""
    sent = False

    async def replay() -> MutableMapping[str, Any]:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _request_id(headers: dict[str, bytes]) -> str:
    sent = _text(headers.get("x-request-id")) or ""
    return sent if _REQUEST_ID.fullmatch(sent) else secrets.token_hex(12)


def _host_name(host: str) -> str:
    """Without the port; an IPv6 address keeps its brackets."""
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
