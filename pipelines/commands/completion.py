"""Values that the shell completes: recipes, steps, run folders, classes and names of options

Every function gets what is typed so far and returns the values that begin with it; none when
something is wrong, for a completion has nobody to tell.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer

from nitrogen.platform.errors import NitrogenError


def recipes(incomplete: str) -> list[str]:
    from nitrogen.pipelines.recipe import shipped_recipes

    return _beginning(incomplete, shipped_recipes())


def steps(incomplete: str) -> list[str]:
    from nitrogen.pipelines.step_table import STEPS

    return _beginning(incomplete, STEPS)


def policies(incomplete: str) -> list[str]:
    from nitrogen.pipelines.commands.generate_options import POLICIES

    return _beginning(incomplete, POLICIES)


def solvers(incomplete: str) -> list[str]:
    from nitrogen.pipelines.commands.generate_options import SOLVERS

    return _beginning(incomplete, SOLVERS)


def precisions(incomplete: str) -> list[str]:
    from nitrogen.pipelines.precision import PRECISIONS

    return _beginning(incomplete, PRECISIONS)


def presets(incomplete: str) -> list[str]:
    from nitrogen.model.config import PRESETS

    return _beginning(incomplete, PRESETS)


def runs(incomplete: str) -> list[str]:
    """Run folders in runs/, and in the folder that is being typed."""
    typed = incomplete.rpartition("/")[0] or ("/" if incomplete.startswith("/") else ".")
    found = {
        str(path.parent)
        for folder in (Path("runs"), Path(typed).expanduser())
        for path in folder.glob("*/journal.jsonl")
    }
    return _beginning(incomplete, sorted(found))


def classes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Classes of the model that --run names, or of the shipped one."""
    from nitrogen.pipelines.commands.generate_options import Described
    from nitrogen.pipelines.trained_models import model_directory

    run = ctx.params.get("run")
    if run is not None and not Path(run).is_dir():
        return []  # a bucket is not fetched for a completion
    try:
        directory = model_directory(Path(run) if run is not None else None)
        return _beginning(incomplete, Described.read(directory).classes)
    except NitrogenError:
        return []


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
