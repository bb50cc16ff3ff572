"""SIGTERM belongs to the program, also while Ray starts in it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def own_signals() -> Iterator[None]:
    """Put the caller's SIGTERM handler back: `ray.init` sets one that ends the process without a
    word of ours, and a native one that prints a stack trace.

    A signal that Ray's handler has caught meanwhile goes to the caller's.
    """
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as end:  # how Ray's handler ends the process
        if main and end.code == signal.SIGTERM and callable(before):
            before(signal.SIGTERM, None)
        raise
    finally:
        if main and before is not None:
            signal.signal(signal.SIGTERM, before)
