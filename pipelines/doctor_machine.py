"""What the doctor asks of the machine: Python, packages, cores, memory, disk, GPU, compiler."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nitrogen.pipelines.doctor_check import Check

DISTRIBUTION = "nitrogen-diffusion"
_GIB = 2**30


def python_version() -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < (3, 11):  # noqa: UP036 - somebody may have forced the installation
        yield Check("python", "FAIL", version, "Use Python 3.11 or newer.")
    else:
        yield Check("python", "OK", version)


def packages() -> Iterator[Check]:
    """Installed versions against the ranges of the package's own metadata."""
    from packaging.requirements import Requirement

    wrong: list[str] = []
    count = 0
    for text in importlib.metadata.requires(DISTRIBUTION) or []:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is not None and not marker.evaluate({"extra": ""}):
            continue
        count += 1
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing, needs {requirement.specifier}")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is outside {requirement.specifier}")
    if wrong:
        fix = "Make the environment again with `make venv`."
        yield Check("packages", "FAIL", "; ".join(wrong), fix)
    else:
        yield Check("packages", "OK", f"{count} dependencies in range")


def cores() -> Iterator[Check]:
    count = len(os.sched_getaffinity(0))
    if count < 2:
        fix = "It works, slowly: set executor.num_workers=1."
        yield Check("cores", "WARN", f"{count} usable", fix)
    else:
        yield Check("cores", "OK", f"{count} usable")


def memory() -> Iterator[Check]:
    available = _available_bytes()
    text = f"{available / _GIB:.1f} GiB available"
    if available < 3 * _GIB:
        yield Check("memory", "FAIL", text, "The demo needs up to 8 GiB: close other programs.")
    elif available < 7.5 * _GIB:
        yield Check("memory", "WARN", text, "Tight for the demo: set executor.num_workers=1.")
    else:
        yield Check("memory", "OK", text)
    shared = Path("/dev/shm")
    if shared.is_dir():
        free = shutil.disk_usage(shared).free
        text = f"{free / 2**20:.0f} MiB in /dev/shm"
        if free < 256 * 2**20:
            fix = "Ray falls back to slow files: give the container --shm-size=1g."
            yield Check("shared memory", "WARN", text, fix)
        else:
            yield Check("shared memory", "OK", text)


def _available_bytes() -> int:
    """MemAvailable, or what the control group leaves where that is less."""
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
    except (OSError, ValueError):
        return available
    return min(available, max(0, limit - used))


def disk(folder: Path) -> Iterator[Check]:
    for name, path in (("disk", folder), ("temporary files", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(path).free
        text = f"{free / _GIB:.1f} GiB free in {path}"
        if free < 2 * _GIB:
            yield Check(name, "FAIL", text, "Free at least 2 GiB, or set --out and TMPDIR.")
        elif free < 6 * _GIB:
            yield Check(name, "WARN", text, "Long runs keep checkpoints: free some space.")
        elif not os.access(path, os.W_OK):
            yield Check(name, "FAIL", f"{path} cannot be written", "Choose another folder.")
        else:
            yield Check(name, "OK", text)


def accelerators() -> Iterator[Check]:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        yield Check("gpu", "OK", ", ".join(names))
    elif shutil.which("nvidia-smi"):
        text = f"a driver is here, but torch {torch.__version__} has no CUDA"
        yield Check("gpu", "WARN", text, "Install a CUDA build of torch.")
    else:
        yield Check("gpu", "OK", f"none; torch {torch.__version__} runs on the CPU")


def triton() -> Iterator[Check]:
    try:
        version = importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        fix = "Kernels fall back to torch; for GPUs: pip install triton"
        yield Check("triton", "WARN", "not installed", fix)
    else:
        yield Check("triton", "OK", version)


def bf16() -> Iterator[Check]:
    """Whether `precision: bf16` is worth asking for on the processor."""
    from nitrogen.pipelines.executor import has_bf16_units

    text = "this processor multiplies in it" if has_bf16_units() else "no units for it: use fp32"
    yield Check("bf16", "OK", text)


def cpu_kernels() -> Iterator[Check]:
    """Builds them if nobody has yet."""
    from nitrogen.kernels.cpu.library import load

    library, text = load()
    if library is None:
        fix = "It works, at about half the speed: install g++ (Debian, Ubuntu: apt install g++)."
        yield Check("cpu kernels", "WARN", text, fix)
    else:
        yield Check("cpu kernels", "OK", text)
