"""The project's wheel: built from a source tree, unpacked for a cluster, told apart by content."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

from nitrogen.platform.errors import StorageError

PACKAGE = "nitrogen"


def build_wheel(source: Path, out: Path) -> Path:
    """Build the wheel of the project in `source` into `out`, without network; returns its path.

    Built from a copy: setuptools leaves files in a source tree and packs those of earlier builds.
    Raises StorageError with the last line of the build's output.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ng-wheel-") as scratch:
        tree = Path(scratch) / "source"
        _copy_sources(source, tree)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
        command += ["--no-build-isolation", "--no-index", "--wheel-dir", scratch, str(tree)]
        done = subprocess.run(command, capture_output=True, text=True)
        built = list(Path(scratch).glob("*.whl"))
        if done.returncode or not built:
            lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
            raise StorageError(
                f"the wheel of {source} could not be built ({lines[-1][:200].rstrip('.')}). "
                "Build it with `pip wheel --no-deps .` and give it by --wheel."
            )
        target = out / built[0].name
        shutil.copyfile(built[0], target)
    return target


def _copy_sources(source: Path, target: Path) -> None:
    """Copy what pyproject.toml says the wheel is made of, and nothing that lies beside it."""
    try:
        project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))
        folders = set(project["tool"]["setuptools"]["package-dir"].values())
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise StorageError(
            f"source must be the root of the project, got {source} ({error}). "
            "Submit from a checkout, or give a built wheel by --wheel."
        ) from error
    target.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (source / name).is_file():
            shutil.copy2(source / name, target / name)
    for folder in folders:
        ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(source / folder, target / folder, ignore=ignore)


def unpack_wheel(wheel: Path, out: Path) -> Path:
    """Unpack the package of a wheel under `out`; returns the folder `out/nitrogen`.

    A folder that holds a `nitrogen/` tree is taken as it is. Raises StorageError when it is no
    wheel of this project, or holds a path that leads out of it.
    """
    if (wheel / PACKAGE).is_dir():
        return wheel / PACKAGE
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.startswith(f"{PACKAGE}/")]
            if not names or any(".." in Path(name).parts for name in names):
                raise StorageError(
                    f"wheel must hold the package {PACKAGE}, got {wheel}. "
                    "Build it from this project's root."
                )
            archive.extractall(out, names)
    except (OSError, zipfile.BadZipFile) as error:
        raise StorageError(
            f"wheel must be a readable wheel file, got {wheel} ({error}). "
            "Build it with `pip wheel --no-deps .`."
        ) from error
    return out / PACKAGE


def tree_digest(folder: Path) -> str:
    """sha256 of the names and contents under a folder; build times do not count."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()
