"""Peak resident memory of a call, read from the kernel; nothing is estimated.

What an earlier call took and gave back stays with the allocator, and a later call that takes it
again makes the resident set no larger: it is handed back to the kernel before each measurement.
What the operators keep from call to call (their scratch space) was there before, and is not seen:
0.5 MiB of a step of the small model at 32 px. A new thread would have none yet, but an arena of
its own, whose top malloc_trim does not give back: a second call of 14 MiB read as 2.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_bytes(call: Callable[[], object]) -> int | None:
    """Bytes by which the resident set grew at its peak during `call`; None where the allocator is
    not glibc's or Linux's counters cannot be reset."""
    if not (hand_back() and _reset_peak()):
        call()
        return None
    before = _field("VmRSS")
    call()
    peak = _field("VmHWM")
    return None if before is None or peak is None else max(0, peak - before)


def hand_back() -> bool:
    """Gives the kernel what is free; False where the allocator cannot. torch's tensors on the CPU
    are glibc's too: large ones go back when freed, small ones by this."""
    gc.collect()
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return False
    trim(ctypes.c_size_t(0))
    return True


def resident_bytes() -> int | None:
    """The resident set now."""
    return _field("VmRSS")


def _reset_peak() -> bool:
    try:
        _RESET.write_text("5")  # sets VmHWM back to VmRSS
    except OSError:
        return False
    return True


def _field(name: str) -> int | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return None
