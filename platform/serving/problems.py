"""Errors on the wire: one body that OpenAI clients and RFC 9457 clients both understand.

{"error": {"message", "type", "param", "code"},              OpenAI's error object
 "type", "title", "status", "detail", "instance"}            problem details (RFC 9457)
"""

from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Any

PROBLEM_JSON = "application/problem+json"

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


@dataclass(frozen=True)
class Problem:
    """A refused or failed request; `message` is one sentence for the person who sent it."""

    status: int
    code: str
    message: str
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def body(self, request_id: str) -> dict[str, Any]:
        kind = _TYPES.get(
            self.status, "invalid_request_error" if self.status < 500 else "server_error"
        )
        return {
            "error": {
                "message": self.message,
                "type": kind,
                "param": self.param,
                "code": self.code,
            },
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.message,
            "instance": f"urn:request:{request_id}",
        }

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class ProblemError(Exception):
    """Raised inside the endpoint's own process to answer with a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def invalid(param: str | None, message: str, code: str = "invalid_value") -> Problem:
    return Problem(400, code, message, param)


def overloaded(retry_after_s: int) -> Problem:
    return Problem(
        503,
        "overloaded",
        f"The queue must have room, but it is full. Try again in {retry_after_s} s.",
        headers={"Retry-After": str(retry_after_s)},
    )


def not_ready(retry_after_s: int = 5) -> Problem:
    return Problem(
        503,
        "not_ready",
        f"A model must be loaded, but no replica is ready. Try again in {retry_after_s} s.",
        headers={"Retry-After": str(retry_after_s)},
    )


def deadline_exceeded(timeout_s: float) -> Problem:
    # x-should-retry: a client that repeats a request which spent its whole time triples the cost.
    return Problem(
        504,
        "deadline_exceeded",
        f"The request must finish within {timeout_s:g} s, but did not. "
        "Lower num_inference_steps, n or budget.",
        headers={"x-should-retry": "false"},
    )


def internal() -> Problem:
    return Problem(
        500,
        "internal_error",
        "The picture could not be made. Report the request id to the operator of this endpoint.",
        headers={"x-should-retry": "false"},
    )


def problem_response(problem: Problem, request_id: str) -> Any:
    """The problem as a Starlette response, application/problem+json."""
    from starlette.responses import JSONResponse

    return JSONResponse(
        problem.body(request_id), problem.status, problem.headers, media_type=PROBLEM_JSON
    )
