"""Checks of the machine, each with what was found and, unless it is fine, what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from nitrogen.pipelines.doctor_check import Check
from nitrogen.pipelines.doctor_machine import (
    accelerators,
    bf16,
    cores,
    cpu_kernels,
    disk,
    memory,
    packages,
    python_version,
    triton,
)
from nitrogen.pipelines.doctor_setup import (
    DEFAULT_PORTS,
    authentication,
    environment,
    free_ports,
    mlflow_store,
    platform_module,
)
from nitrogen.pipelines.masking import mask_secrets


def examine(*, ports: tuple[int, ...] = DEFAULT_PORTS, folder: Path | None = None) -> list[Check]:
    """All checks, in order; a check that breaks is itself a FAIL."""
    folder = folder or Path.cwd()
    found: list[Check] = []
    groups: list[tuple[str, Callable[[], Iterator[Check]]]] = [
        ("python", python_version),
        ("packages", packages),
        ("cores", cores),
        ("memory", memory),
        ("disk", lambda: disk(folder)),
        ("ports", lambda: free_ports(ports)),
        ("authentication", authentication),
        ("mlflow", lambda: mlflow_store(folder)),
        ("platform", lambda: platform_module(folder)),
        ("environment", environment),
        ("gpu", accelerators),
        ("triton", triton),
        ("cpu kernels", cpu_kernels),
        ("bf16", bf16),
    ]
    for name, group in groups:
        try:
            found.extend(group())
        except Exception as exc:  # boundary: one broken check must not hide the others
            text = f"the check itself failed ({type(exc).__name__}: {exc})"
            found.append(Check(name, "FAIL", mask_secrets(text), "Report it."))
    return found
