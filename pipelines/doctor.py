"""Checks of the machine, each with what was found and, unless it is fine, what to do about it."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import socket
import sqlite3
import stat
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nitrogen.pipelines.masking import MASK, is_secret, mask_secrets

DEFAULT_PORTS = (8000, 8265, 5000)
_PORT_OF = {8000: "the endpoint", 8265: "the Ray dashboard", 5000: "the MLflow UI"}
_GIB = 2**30
DISTRIBUTION = "nitrogen-diffusion"


@dataclass(frozen=True)
class Check:
    """One finding; status is OK, WARN or FAIL, fix is empty when OK."""

    name: str
    status: str
    detail: str
    fix: str = ""

    def row(self) -> dict[str, str]:
        return {"name": self.name, "status": self.status, "detail": self.detail, "fix": self.fix}


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
    ]
    for name, group in groups:
        try:
            found.extend(group())
        except Exception as exc:  # boundary: one broken check must not hide the others
            text = f"the check itself failed ({type(exc).__name__}: {exc})"
            found.append(Check(name, "FAIL", mask_secrets(text), "Report it."))
    return found


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


def free_ports(ports: tuple[int, ...]) -> Iterator[Check]:
    for port in ports:
        use = _PORT_OF.get(port, "the endpoint")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as exc:
                text = f"{port} is taken ({exc.strerror})"
                yield Check("port", "WARN", text, f"Give {use} another port, or stop its user.")
                continue
        yield Check("port", "OK", f"{port} is free for {use}")


def authentication() -> Iterator[Check]:
    mode = os.environ.get("RAY_AUTH_MODE")
    where = os.environ.get("RAY_AUTH_TOKEN_PATH")
    token = Path(where).expanduser() if where else Path.home() / ".ray" / "auth_token"
    if mode == "disabled":
        fix = "Everyone who reaches the cluster can run code on it: set RAY_AUTH_MODE=token."
        yield Check("ray authentication", "WARN", "RAY_AUTH_MODE is disabled", fix)
    elif token.is_file() and stat.S_IMODE(token.stat().st_mode) & 0o077:
        text = f"{token} can be read by others"
        yield Check("ray authentication", "WARN", text, f"Run: chmod 600 {token}")
    else:
        held = "a token is at hand" if token.is_file() else "no token file; one is made when needed"
        yield Check("ray authentication", "OK", f"mode {mode or 'token (ours)'}, {held}")
    keys = [key for key in os.environ.get("NITROGEN_API_KEYS", "").split(",") if key.strip()]
    text = f"{len(keys)} API keys set ({MASK})" if keys else "no API keys; loopback only"
    yield Check("endpoint authentication", "OK", text)


def mlflow_store(folder: Path) -> Iterator[Check]:
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        yield Check("mlflow", "OK", f"MLFLOW_TRACKING_URI is {mask_secrets(uri)}")
    if (folder / "mlruns").is_dir():
        fix = "MLflow takes it for an old file store and refuses: move it away."
        yield Check("mlflow", "WARN", f"{folder / 'mlruns'} exists", fix)
    try:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            with sqlite3.connect(Path(place) / "probe.db", timeout=5) as database:
                database.execute("create table probe (x)")
            database.close()
    except (OSError, sqlite3.Error) as exc:
        fix = "Choose an --out on a local disk, or set tracking.uri to an MLflow server."
        yield Check("mlflow database", "FAIL", f"SQLite cannot write in {folder}: {exc}", fix)
    else:
        yield Check("mlflow database", "OK", f"SQLite writes in {folder}")


def platform_module(folder: Path) -> Iterator[Check]:
    """Nothing may shadow the standard library's `platform`."""
    import platform

    expected = Path(sysconfig.get_paths()["stdlib"]).resolve()
    actual = Path(str(platform.__file__)).resolve()
    if (folder / "platform" / "__init__.py").exists():
        fix = "Delete it: pip, torch and Ray would import it as `platform`."
        yield Check("platform module", "FAIL", f"{folder}/platform/__init__.py exists", fix)
    elif expected not in actual.parents:
        fix = "Take that folder off PYTHONPATH."
        yield Check("platform module", "FAIL", f"`platform` is {actual}", fix)
    else:
        yield Check("platform module", "OK", "the standard library's")


def environment() -> Iterator[Check]:
    address = os.environ.get("RAY_ADDRESS")
    if address:
        text = f"RAY_ADDRESS is {mask_secrets(address)}"
        fix = "Other Ray programs will join that cluster; the embedded Ray ignores it."
        yield Check("ray address", "WARN", text, fix)
    ours = ("AWS_", "MLFLOW_", "NITROGEN_")
    shown = [
        f"{name}={MASK if is_secret(name) else mask_secrets(value)}"
        for name, value in sorted(os.environ.items())
        if name.startswith(ours)
    ]
    yield Check("environment", "OK", ", ".join(shown) or "no AWS_, MLFLOW_, NITROGEN_ variables")


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


def cpu_kernels() -> Iterator[Check]:
    """Builds them if nobody has yet."""
    from nitrogen.kernels.cpu.library import load

    library, text = load()
    if library is None:
        fix = "It works, at about half the speed: install g++ (Debian, Ubuntu: apt install g++)."
        yield Check("cpu kernels", "WARN", text, fix)
    else:
        yield Check("cpu kernels", "OK", text)
