"""The contracts of serving: the request on the wire, and the generator that answers it."""

import difflib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nitrogen.platform.serving.problems import Problem, ProblemError, invalid

MAX_SEED = 2**63 - 1
# A share of the full model's compute, and a mean squared error of images from -1 to 1: no more than
# these mean anything, here or on the command line.
MAX_BUDGET, MAX_THRESHOLD = 1.0, 4.0
# What one request may hold a replica for: it makes one picture at a time. The command line, which
# holds nobody up, takes ten times as many.
MAX_STEPS = 100


@dataclass(frozen=True)
class GeneratedImage:
    """One picture as PNG bytes, and what it cost.

    metrics: gflops, gflops_full (what all steps of the full model would cost), ms, steps,
    active_fraction (0..1), fallbacks (steps that the model could not plan as it should); more keys
    pass through to the client.
    """

    png: bytes
    metrics: dict[str, Any] = field(default_factory=dict)


class Generator(Protocol):
    """Where a model plugs in; made by `load(bundle_directory: Path, **generator_options)`."""

    def generate(
        self, request: dict[str, Any], should_stop: Callable[[], bool]
    ) -> GeneratedImage | Sequence[GeneratedImage]:
        """The n pictures of a validated request (`GenerationRequest.for_generator`).

        Picture i uses seed + i. `should_stop` is asked between calls of the model, which take a
        third of a second at most, or one step; when it says yes, return or raise at once. An
        exception with an `exit_code` carries a sentence for the client (400); any other one is a
        failure (500).
        """

    def info(self) -> dict[str, Any]:
        """JSON-able facts: classes (names in label order), image_size, policies, ..."""

    def self_test(self) -> None:
        """Raise if the loaded weights do not reproduce the golden pictures of the bundle."""


LoadGenerator = Callable[[Any], Generator]


class GenerationRequest(BaseModel):
    """The body of POST /v1/images/generations; OpenAI's names where OpenAI has one."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    prompt: str | None = Field(None, max_length=200, description="The name of a class.")
    class_name: str | None = Field(None, alias="class", max_length=200)
    model: str | None = Field(None, max_length=200)
    n: int = Field(1, ge=1, le=8)
    size: str | None = Field(None, max_length=20)
    seed: int | None = Field(None, ge=0, le=MAX_SEED)
    num_inference_steps: int = Field(12, ge=1, le=MAX_STEPS)
    guidance_scale: float = Field(1.0, ge=0, le=20)
    policy: Literal["full", "static", "random", "threshold", "budget"] | None = None
    budget: float | None = Field(None, gt=0, le=MAX_BUDGET)
    threshold: float | None = Field(None, ge=0, le=MAX_THRESHOLD)
    response_format: Literal["b64_json", "png"] = "b64_json"

    def for_generator(self) -> dict[str, Any]:
        """The plain dict that a Generator gets: every field set, the seed drawn if none came."""
        policy: str | None = self.policy
        if policy is None:
            dials = {"budget": self.budget, "threshold": self.threshold}
            policy = next((name for name, value in dials.items() if value is not None), "full")
        return {
            "class": self.class_name if self.class_name is not None else self.prompt,
            "n": self.n,
            "seed": secrets.randbelow(MAX_SEED) if self.seed is None else self.seed,
            "num_inference_steps": self.num_inference_steps,
            "guidance_scale": self.guidance_scale,
            "policy": policy,
            "budget": self.budget,
            "threshold": self.threshold,
            "size": self.size,
        }


_RULES = {
    "prompt": "the name of a class, at most 200 characters",
    "class": "the name of a class, at most 200 characters",
    "model": "the name of the served model",
    "n": "an integer from 1 to 8",
    "size": "auto or WIDTHxHEIGHT",
    "seed": f"an integer from 0 to {MAX_SEED}",
    "num_inference_steps": f"an integer from 1 to {MAX_STEPS}, for a request holds up all others",
    "guidance_scale": "a number from 0 to 20",
    "policy": "one of full, static, random, threshold, budget",
    "budget": f"a number above 0 and at most {MAX_BUDGET:g}, the share of the full compute",
    "threshold": f"a number from 0 to {MAX_THRESHOLD:g}, a mean squared error",
    "response_format": "b64_json or png",
}


def parse_request(body: Any) -> GenerationRequest:
    """Validate a decoded JSON body. Raises: ProblemError (400) naming the field and the remedy."""
    if not isinstance(body, dict):
        raise ProblemError(invalid(None, 'The body must be a JSON object, e.g. {"class": "cat"}.'))
    for name in body:
        if name not in _RULES:
            raise ProblemError(_unknown_field(str(name)))
    try:
        request = GenerationRequest.model_validate(body)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        shown = repr(body.get(name))[:60]
        message = f"{name} must be {_RULES[name]}, got {shown}. Change it or leave it out."
        raise ProblemError(invalid(name, message)) from None
    _check_combination(request)
    return request


def check_against_model(request: Mapping[str, Any], info: Mapping[str, Any]) -> Problem | None:
    """What only the loaded model can say: the class exists, the size and the policy fit."""
    classes, name = info.get("classes", ()), request["class"]
    if name not in classes:
        near = difflib.get_close_matches(name, classes, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else "Choose another one."
        message = (
            f"class must be one of the {len(classes)} classes of the model, got {name[:60]!r}. "
            f"{hint} GET /v1/models lists them."
        )
        return invalid("class", message, "unknown_class")
    edge, size = info.get("image_size"), request.get("size")
    if edge is not None and size not in (None, "auto", f"{edge}x{edge}"):
        message = f"size must be auto or {edge}x{edge} for this model, got {size!r}. Leave it out."
        return invalid("size", message)
    policies = info.get("policies")
    if policies is not None and request["policy"] not in policies:
        message = (
            f"policy must be one of {', '.join(policies)} for this model, "
            f"got {request['policy']!r}. Leave it out for the full model."
        )
        return invalid("policy", message)
    return None


def _unknown_field(name: str) -> Problem:
    near = difflib.get_close_matches(name, _RULES, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known fields: {', '.join(_RULES)}."
    return invalid(name[:60], f"Unknown field {name[:60]!r}. {hint}", "unknown_parameter")


def _check_combination(request: GenerationRequest) -> None:
    if (request.class_name is None) == (request.prompt is None):
        which = "both" if request.prompt is not None else "neither"
        message = f"Exactly one of class and prompt must be set, got {which}. Send class alone."
        raise ProblemError(invalid("class", message))
    if request.policy == "budget" and request.budget is None:
        message = "budget must be set for the policy budget, got none. Send e.g. 0.5."
        raise ProblemError(invalid("budget", message))
    if request.policy in ("full", "random") and request.budget is not None:
        message = (
            f"budget must be left out for the policy {request.policy}, got {request.budget:g}. "
            "Use the policy budget, or static for a time that does not depend on the picture."
        )
        raise ProblemError(invalid("budget", message))
