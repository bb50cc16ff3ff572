"""Ending a process and all that it started, as a machine that loses its power does."""

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest


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
