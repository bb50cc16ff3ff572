"""Ctrl-C and SIGTERM as exceptions, so that a run stops cleanly and says how it ended."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to stop; the exit code is 128 + its number."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum
        self.exit_code = 128 + signum


@contextlib.contextmanager
def interrupts() -> Iterator[None]:
    """Raise Interrupted on the first SIGINT or SIGTERM; ignore the ones that follow it.

    A second signal during the clean-up (marking runs, stopping the cluster) would leave processes
    behind; SIGKILL remains for the impatient. Outside the main thread this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stopping = False

    def stop(signum: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            raise Interrupted(signum)

    before: dict[int, Any] = {}
    number: int
    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
