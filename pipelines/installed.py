"""How a person calls a command of this environment from their shell."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path


def installed(name: str) -> str:
    """What a person types for a command of this environment: its name, or its path in quotes where
    the shell would not find it."""
    path = Path(sys.executable).with_name(name)
    if shutil.which(name) or not path.exists():
        return name
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
