"""The key of a step: a digest of everything that its result depends on, and why two keys differ."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from nitrogen.kernels.cpu import build
from nitrogen.pipelines.code_digest import code_digests
from nitrogen.pipelines.executor import ExecutorConfig
from nitrogen.pipelines.step_table import StepSpec, step_module

# The libraries whose version can change a number that a step computes.
LOCKED = (
    "einops",
    "numpy",
    "onnxruntime",
    "optuna",
    "pillow",
    "pyarrow",
    "ray",
    "safetensors",
    "torch",
)

KeyParts = dict[str, Any]


def key_parts(
    spec: StepSpec,
    config: BaseModel,
    *,
    seed: int,
    executor: ExecutorConfig,
    inputs: Mapping[str, str],
    registry: str | None = None,
) -> KeyParts:
    """What a step's result depends on, as JSON values.

    inputs: earlier step -> the digest of its result, or its key. registry: the MLflow URI where it
    is not the run folder's own; only its digest is kept, for it may hold a password.
    A step module may define `fingerprint(config) -> dict`: what it reads from outside the recipe,
    for example the digest of a folder of pictures.
    """
    fingerprint = getattr(step_module(spec), "fingerprint", None)
    return {
        "step": spec.name,
        "config": config.model_dump(mode="json"),
        "seed": seed if spec.seeded else None,
        "inputs": dict(sorted(inputs.items())),
        "outside": fingerprint(config) if fingerprint else {},
        "code": code_digests(spec.module),
        "lock": locked_versions(),
        "executor": executor.facts(spec.samples) if spec.computes else {},
        "kernels": build.provider() if spec.computes else None,
        "registry": _short_digest(registry) if registry and spec.uses_registry else None,
    }


def key_of(parts: KeyParts) -> str:
    """sha256 (hex) of the canonical JSON of the parts."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@functools.lru_cache(maxsize=1)
def _locked() -> tuple[tuple[str, str], ...]:
    versions = [("python", f"{sys.version_info.major}.{sys.version_info.minor}")]
    for name in LOCKED:
        try:
            versions.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            versions.append((name, "absent"))
    return tuple(versions)


def locked_versions() -> dict[str, str]:
    """Installed versions of the libraries that decide results."""
    return dict(_locked())


def explain(old: KeyParts, new: KeyParts) -> list[str]:
    """What changed from `old` to `new`, most telling first; empty when the keys are equal."""
    changes = [
        *_differences(old.get("config"), new.get("config"), ""),
        *_differences({"seed": old.get("seed")}, {"seed": new.get("seed")}, ""),
        *_differences(old.get("executor"), new.get("executor"), "executor."),
        *_differences(old.get("outside"), new.get("outside"), "source."),
        *_differences({"registry": old.get("registry")}, {"registry": new.get("registry")}, ""),
    ]
    before, after = ({"kernels": parts.get("kernels")} for parts in (old, new))
    changes.extend(_differences(before, after, ""))
    for step in _changed(old.get("inputs"), new.get("inputs")):
        changes.append(f"result of {step} changed")
    changes.extend(_differences(old.get("lock"), new.get("lock"), ""))
    modules = [
        name.removeprefix("nitrogen.") for name in _changed(old.get("code"), new.get("code"))
    ]
    if modules:
        shown = ", ".join(modules[:3]) + (f" and {len(modules) - 3} more" * (len(modules) > 3))
        changes.append(f"code changed: {shown}")
    return changes


def _changed(old: Any, new: Any) -> list[str]:
    old, new = old or {}, new or {}
    return [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]


def _differences(old: Any, new: Any, prefix: str) -> Iterator[str]:
    for name in _changed(old, new):
        before, after = (old or {}).get(name), (new or {}).get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name} {_shown(before)} -> {_shown(after)}"


def _shown(value: Any) -> str:
    text = "absent" if value is None else json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
