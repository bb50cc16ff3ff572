"""Where numbers come from: commit, versions and machine, as text for the report's header."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

from nitrogen.pipelines import revision


def commit() -> str:
    """The commit of the checkout this code runs from, "-dirty" when it has local changes.

    Installed from a wheel there is no checkout: then "nitrogen <version>".
    """
    return revision.commit() or f"nitrogen {_version('nitrogen-diffusion')}"


def machine() -> str:
    """Processor, cores that this process may use and GPU, in one line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [_processor(), f"{cores} cores", *_gpu()]
    return ", ".join(part for part in parts if part)


def versions() -> str:
    """Python and torch, in one line."""
    return f"Python {platform.python_version()}, torch {_version('torch')}"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _gpu() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(0)] if torch.cuda.is_available() else []
