"""Short names of rows, for plots and tables: the solver's own name and the number of steps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

SOLVERS = {"euler": "DDIM", "heun": "Heun", "dpmpp_2m": "DPM++", "unipc": "UniPC"}


def short_name(row: Mapping[str, Any]) -> str:
    """ "UniPC 7" for the teacher's seven steps of UniPC; other rows lose only what is plain.

    By whose operators a row ran is not part of it.
    """
    setting, name = row["setting"], str(row["name"]).removesuffix(", by rows")
    solver, steps = SOLVERS.get(setting.get("solver", "")), setting.get("num_steps")
    if name.startswith("teacher ") and solver and row["group"] == "teacher":
        return f"{solver} {steps}"
    name = re.sub(r" steps$", "", name).replace("-like", "")
    name = name.removeprefix("thin ") if name.startswith("thin thin") else name
    return re.sub(r" (euler|heun|dpmpp_2m|unipc) ", " ", name)
