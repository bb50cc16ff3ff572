"""Peak resident memory of a call, read from the kernel; nothing is estimated."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_bytes(call: Callable[[], object]) -> int | None:
    """Bytes by which the resident set grew at its peak during `call`; None where Linux's counters
    cannot be reset."""
    gc.collect()
    try:
        _RESET.write_text("5")  # sets VmHWM back to VmRSS
    except OSError:
        call()
        return None
    before = _field("VmRSS")
    call()
    peak = _field("VmHWM")
    return None if before is None or peak is None else max(0, peak - before)


def resident_bytes() -> int | None:
    """The resident set now."""
    return _field("VmRSS")


def _field(name: str) -> int | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return None
