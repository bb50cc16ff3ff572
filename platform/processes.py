"""Whether a process of this machine still lives: locks and folders name their owner by its id."""

import os


def process_alive(pid: int) -> bool:
    """True while process `pid` exists on this machine, whoever owns it."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
