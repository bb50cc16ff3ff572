"""A few pictures for whole runs, and the end of a process as when a machine loses its power."""

import contextlib
import os
import signal
from collections.abc import Callable
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
