"""Whether a process of this machine still lives: locks and folders name their owner by its id."""

import os
from pathlib import Path


def process_alive(pid: int) -> bool:
    """True while process `pid` exists on this machine, whoever owns it."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def process_space() -> str | None:
    """Boot of this machine and namespace of process ids, within which an id means a process: two
    containers of one host name each have a process 1. None where the system does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def own_start() -> str | None:
    """When this process started, in clock ticks since the boot: a process id is given again."""
    try:
        # Field 22 of proc(5); the name before it, in brackets, may hold anything.
        return Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None
