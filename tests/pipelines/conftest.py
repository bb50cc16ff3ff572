"""A few pictures for whole runs, and the end of a process as when a machine loses its power."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def few_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """42 pictures of three classes, 16 px: enough for every split, and quick in every step."""
    root = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for name in ("red", "green", "blue"):
        (root / name).mkdir()
        for index in range(14):
            pixels = generator.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return root


@pytest.fixture(scope="session")
def kill_tree() -> Callable[[int], None]:
    """kill -9 of a process and its descendants: nothing of it gets to say goodbye."""

    def kill(pid: int) -> None:
        for member in [pid, *_descendants(pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)

    return kill


def _descendants(pid: int) -> list[int]:
    """Children, grandchildren and so on, from /proc: the fourth field of stat is the parent."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found, queue = [], [pid]
    while queue:
        parent = queue.pop()
        children = [child for child, its in parents.items() if its == parent]
        found += children
        queue += children
    return found


# Imports once what every step needs (10 s of processor time), then runs each task in a fork.
WARM = """
import importlib, json, os, pkgutil, sys
import mlflow.tracking, optuna, pyarrow.parquet, ray.serve, ray.tune, torch
import nitrogen.pipelines.cli
from nitrogen.pipelines import steps
for module in pkgutil.iter_modules(steps.__path__):
    importlib.import_module(f"{steps.__name__}.{module.name}")
for line in sys.stdin:
    task = json.loads(line)
    pid = os.fork()
    if not pid:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(task["printed"], os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
        os.dup2(1, 2)
        sys.argv[1:] = task["arguments"]
        exec(task["code"], {"__name__": "__main__"})
        sys.exit()
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class WarmProcess:
    """Runs Python code in processes that need not import first: one at a time, to their end."""

    def __init__(self) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, "-c", WARM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, code: str, arguments: Sequence[str], printed: Path) -> int:
        """The id of a process that runs `code`, its output appended to the file `printed`."""
        task = {"code": code, "arguments": list(arguments), "printed": str(printed)}
        assert self._parent.stdin is not None
        self._parent.stdin.write(json.dumps(task) + "\n")
        self._parent.stdin.flush()
        return self._answer()

    def wait(self) -> int:
        """The exit code of the process that was started last; -9 if it was killed."""
        return self._answer()

    def close(self) -> None:
        self._parent.kill()
        self._parent.communicate()

    def _answer(self) -> int:
        assert self._parent.stdout is not None
        return int(self._parent.stdout.readline())


@pytest.fixture(scope="module")
def warm() -> Iterator[WarmProcess]:
    process = WarmProcess()
    yield process
    process.close()
