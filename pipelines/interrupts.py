"""Ctrl-C and SIGTERM as exceptions, so that a run stops cleanly and says how it ended."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """A signal, or this process itself because of an `error`, asked it to stop; the exit code is
    128 + the signal's number."""

    def __init__(self, signum: int, error: Exception | None = None) -> None:
        super().__init__(str(error or f"stopped by {signal.Signals(signum).name}"))
        self.signum = signum
        self.exit_code = 128 + signum


@contextlib.contextmanager
def interrupts() -> Iterator[Callable[[Exception], None]]:
    """Raise Interrupted on the first SIGINT or SIGTERM; ignore the ones that follow it.

    A second signal during the clean-up (marking runs, stopping the cluster) would leave processes
    behind; SIGKILL remains for the impatient. Outside the main thread this does nothing.

    Yields a function for other threads: it stops the body likewise, because of an error.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda error: None
        return
    stopping = False
    reasons: list[Exception] = []

    def on_signal(signum: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            raise Interrupted(signum, *reasons[:1])

    def stop(error: Exception) -> None:
        reasons.append(error)
        # A real signal: it ends a system call that the main thread waits in.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    before: dict[int, Any] = {}
    number: int
    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
