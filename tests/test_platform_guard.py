"""The folder `platform/` must not shadow the standard library's `platform`.

An `__init__.py` in it would: Python puts the working directory first on the path, and so does Ray
for a task's `working_dir`. pip, pytest, torch and every Ray worker would then fail to start.
"""

from __future__ import annotations

import json
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ASK = """
import json, os, platform, sys
import nitrogen.platform.errors
print(json.dumps([platform.system(), platform.__file__, os.path.isdir("platform"), sys.path[0]]))
"""
STDLIB = Path(sysconfig.get_paths()["stdlib"])


def test_the_standard_library_wins_in_the_repository_root(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK], cwd=repository, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    system, file, folder_is_here, first_on_path = json.loads(done.stdout)
    assert system == platform.system()
    assert Path(file).parent == STDLIB
    # Without these two the question would not have been asked.
    assert folder_is_here
    assert first_on_path == ""


@pytest.mark.ray
def test_the_standard_library_wins_in_a_ray_task(
    repository: Path, short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    tree = short_tmp / "tree"
    for folder in ("kernels", "model", "platform", "pipelines", "infra"):
        ignored = shutil.ignore_patterns("bundled", "weights", "__pycache__")
        shutil.copytree(repository / folder, tree / folder, ignore=ignored)
    monkeypatch.chdir(tree)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def where() -> tuple[str, str, bool, bool]:
        import os
        import platform
        import sys

        here = os.getcwd()
        return platform.system(), platform.__file__, os.path.isdir("platform"), here in sys.path

    try:
        ray.init(
            address="local",
            num_cpus=1,
            object_store_memory=150 * 1024**2,
            include_dashboard=False,
            log_to_driver=False,
            _temp_dir=str(short_tmp / "ray"),
            # Quoted: Ray hands it to bash, and a folder's name may have a space.
            runtime_env={"working_dir": ".", "py_executable": shlex.quote(sys.executable)},
        )
        answer = ray.get(ray.remote(where).remote(), timeout=120)
    finally:
        ray.shutdown()
    system, file, folder_is_here, here_is_on_path = answer
    assert system == platform.system()
    assert Path(file).parent == STDLIB
    assert folder_is_here
    assert here_is_on_path
