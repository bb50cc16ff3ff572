"""Short names of rows, for plots and tables: the solver's own name and the number of steps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

SOLVERS = {"euler": "DDIM", "heun": "Heun", "dpmpp_2m": "DPM++", "unipc": "UniPC"}


def short_name(row: Mapping[str, Any]) -> str:
    """ "UniPC 7" for the teacher's seven steps of UniPC; other rows lose only what is plain."""
    setting = row["setting"]
    solver, steps = SOLVERS.get(setting.get("solver", "")), setting.get("num_steps")
    if row.get("kind") == "dense" and solver and row["group"] == "teacher":
        return f"{solver} {steps}{_by(row)}"
    name = re.sub(r" steps$", "", str(row["name"])).replace("-like", "")
    return re.sub(r" (euler|heun|dpmpp_2m|unipc) ", " ", name)


def _by(row: Mapping[str, Any]) -> str:
    """What tells two rows of one solver apart, as the name says it behind a comma."""
    _, comma, rest = str(row["name"]).partition(",")
    return comma + rest
