"""`scripts/venv.sh`, in a folder with a space in its name and with a pip that only takes notes."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

# Stands for an interpreter: answers the version question, "makes" a virtual environment that holds
# itself, writes down what pip is asked for, and fails or hangs up where the test says so.
FAKE_PYTHON = """#!/usr/bin/env bash
case "$*" in
  --version) echo "Python 3.11.0" ;;
  *sys.version_info*) exit "${TOO_OLD:-0}" ;;
  "-m venv .venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
  "-m pip install"*) echo "$*" >>pip.log
    if [[ -n ${FAIL_AT:-} && $* == *"$FAIL_AT"* ]]; then echo "pip: no network" >&2; exit 1; fi ;;
esac
"""


@pytest.fixture
def checkout(repository: Path, tmp_path: Path) -> Path:
    root = tmp_path / "a clone"
    (root / "scripts").mkdir(parents=True)
    shutil.copy(repository / "scripts" / "venv.sh", root / "scripts")
    for name in ("constraints.txt", "requirements-features.txt", "pyproject.toml"):
        shutil.copy(repository / name, root)
    python = root / "fake-python"
    python.write_text(FAKE_PYTHON)
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return root


def make_venv(root: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [root / "scripts" / "venv.sh"],
        env={**os.environ, "PYTHON": str(root / "fake-python"), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def installs(root: Path) -> list[str]:
    log = root / "pip.log"
    return log.read_text().splitlines() if log.exists() else []


def test_torch_comes_first_and_pinned_and_the_features_last_without_dependencies(
    checkout: Path,
) -> None:
    done = make_venv(checkout)
    assert done.returncode == 0, done.stderr
    asked = installs(checkout)
    assert [" torch==" in line for line in asked] == [False, True, False, False]
    assert asked[2].endswith("--editable .[dev]")
    assert "--no-deps" in asked[3]
    assert all("--constraint constraints.txt" in line for line in asked)


def test_a_second_run_asks_pip_for_nothing(checkout: Path) -> None:
    make_venv(checkout)
    before = installs(checkout)
    again = make_venv(checkout, FAIL_AT="install")
    assert (again.returncode, again.stderr) == (0, "")
    assert installs(checkout) == before


@pytest.mark.parametrize("name", ["constraints.txt", "pyproject.toml"])
def test_changed_pins_install_again_into_the_same_venv(checkout: Path, name: str) -> None:
    make_venv(checkout)
    (checkout / ".venv" / "kept").touch()
    with (checkout / name).open("a") as file:
        file.write("# changed\n")
    assert make_venv(checkout).returncode == 0
    assert len(installs(checkout)) == 8
    assert (checkout / ".venv" / "kept").exists()


def test_a_cut_off_install_starts_afresh(checkout: Path) -> None:
    failed = make_venv(checkout, FAIL_AT="--editable")
    assert failed.returncode == 1
    assert "error: pip could not install the dependencies" in failed.stderr
    (checkout / ".venv" / "half").touch()
    assert make_venv(checkout).returncode == 0
    assert not (checkout / ".venv" / "half").exists()
    assert make_venv(checkout, FAIL_AT="install").returncode == 0


def test_a_moved_checkout_makes_its_venv_again(checkout: Path) -> None:
    make_venv(checkout)
    (checkout / ".venv" / "old").touch()
    moved = checkout.rename(checkout.parent / "another clone")
    assert make_venv(moved).returncode == 0
    assert not (moved / ".venv" / "old").exists()


def test_an_old_python_gets_one_sentence(checkout: Path) -> None:
    refused = make_venv(checkout, TOO_OLD="1")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: python must be 3.11 or newer, got ")
    assert refused.stderr.count("\n") == 1
    assert not (checkout / ".venv").exists()
