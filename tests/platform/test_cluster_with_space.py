"""Ray's workers start when the interpreter lies in a directory with a space in its name."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
import ray
from nitrogen.platform.cluster import start_embedded

@ray.remote(runtime_env={"env_vars": {"GREETING": "hello"}})
def greet():
    import os
    return os.environ["GREETING"], sys.executable

with start_embedded(1, 150 * 2**20):
    greeting, executable = ray.get(greet.remote(), timeout=120)
    assert greeting == "hello"
    assert "with space" in executable, executable
"""


@pytest.mark.ray
@pytest.mark.timeout(240)
def test_workers_with_a_runtime_environment_start(tmp_path):
    folder = tmp_path / "with space"
    folder.mkdir()
    (folder / "venv").symlink_to(Path(sys.prefix), target_is_directory=True)
    python = folder / "venv" / "bin" / "python"
    done = subprocess.run(
        [python, "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=220,
        cwd=folder,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
