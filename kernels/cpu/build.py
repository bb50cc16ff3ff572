"""Compiles the C++ of this folder once into the user's cache, where every process finds it."""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

OFF = "NITROGEN_CPU_KERNELS"  # =0: plain PyTorch
NEEDED = {"avx2", "fma"}
FLAGS = (
    "-std=c++17", "-O3", "-march=x86-64-v3", "-fPIC", "-shared", "-fopenmp", "-fvisibility=hidden",
    "-Wno-psabi",
)  # fmt: skip
TIMEOUT_S = 300


class BuildError(Exception):
    """Why there is no library; one sentence."""


def library_path() -> Path:
    """The shared library, built if it is not there yet. Raises BuildError."""
    compiler = usable_compiler()
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / f"kernels-{digest(compiler)}.so"
        if not path.exists():
            with (folder / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not path.exists():  # nobody built it while we waited
                    compile_to(path, compiler)
    except OSError as error:
        raise BuildError(f"the cache cannot be written ({error})") from None
    return path


def usable_compiler() -> str:
    """Raises BuildError where nothing can be built, or nobody wants it to be."""
    if os.environ.get(OFF) == "0":
        raise BuildError(f"{OFF}=0")
    if platform.machine() not in ("x86_64", "AMD64") or not processor_flags() >= NEEDED:
        raise BuildError("the processor has no AVX2 and FMA")
    compiler = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
    if compiler is None:
        raise BuildError("there is no C++ compiler (install g++, or set CXX)")
    return compiler


def provider() -> str:
    """Which kernels this processor runs, for keys of results; nothing is built. Their sources are
    part of a key as code."""
    try:
        usable_compiler()
    except BuildError:
        return "plain PyTorch"
    return "C++"


def compile_to(path: Path, compiler: str, *extra: str) -> None:
    """Atomic: the library is there as a whole or not at all. extra: further flags."""
    with tempfile.TemporaryDirectory(dir=path.parent) as place:
        made, whole = Path(place) / path.name, Path(place) / "all.cpp"
        # As one unit: the headers are read once (6 s of processor time against 15 file by file).
        lines = [f'#include "{source}"\n' for source in files() if source.suffix == ".cpp"]
        whole.write_text("".join(lines))
        command = [compiler, *FLAGS, *extra, str(whole), "-o", str(made)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise BuildError(f"{compiler} took longer than {TIMEOUT_S} s") from None
        if done.returncode:
            said = done.stderr.splitlines() or ["?"]
            why = next((line for line in said if "error" in line), said[0])
            raise BuildError(f"{compiler} failed: {why[:200]}")
        made.replace(path)


def digest(compiler: str) -> str:
    """Of the sources, the compiler, its flags and the processor's."""
    whole = hashlib.sha256(repr((FLAGS, compiler, sorted(processor_flags()))).encode())
    version = subprocess.run([compiler, "--version"], capture_output=True, timeout=TIMEOUT_S)
    whole.update(version.stdout)
    for path in files():
        whole.update(path.name.encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()[:20]


def files() -> list[Path]:
    return sorted(p for p in Path(__file__).parent.iterdir() if p.suffix in (".cpp", ".h"))


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "nitrogen"


def processor_flags() -> set[str]:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("flags"):
                return set(line.split(":", 1)[1].split())
    except OSError:
        pass
    return set()
