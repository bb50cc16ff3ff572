"""Where the weights are: in a run folder, or shipped with the package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from nitrogen.pipelines.atomic_json import read_json
from nitrogen.pipelines.recipe import Recipe, recipe_from_values
from nitrogen.pipelines.run_folder import RunFolder
from nitrogen.pipelines.summary import read_summary
from nitrogen.platform.errors import ConfigError, DataError

Role = Literal["student", "teacher"]
SHIPPED = "shipped"  # in place of a run folder; of another data set than DEFAULT: `shipped:fashion`
DEFAULT = "emoji32"
SHIPPED_WEIGHTS = Path(__file__).parent / "weights"
_NAMES = ("bundle", "student", "teacher", "model")
_FILES = ("config.json", "model.safetensors")

# The first of these steps whose result names a model directory holds the role's weights: the
# promoted bundle, the student that the sweep chose, the distilled one.
_STEPS_OF: Mapping[Role, tuple[str, ...]] = {
    "student": ("promote", "sweep", "distill"),
    "teacher": ("pretrain",),
}


def model_directory(run: Path | None, role: Role = "student") -> Path:
    """The directory to load: of a run, or the shipped weights when no run is named; of one data
    set where `shipped:NAME` is.

    Raises ConfigError for a folder without a run, DataError when no weights are there yet.
    """
    name = shipped_name(run)
    return _in_run(Path(run or ""), role) if name is None else _shipped(name, role)


def shipped_name(run: Path | str | None) -> str | None:
    """The data set whose shipped weights `run` means; None where it is a run folder."""
    head, _, name = str(run or SHIPPED).partition(":")
    return (name or DEFAULT) if head == SHIPPED else None


def _in_run(run: Path, role: Role) -> Path:
    summary = read_summary(run)
    folder = RunFolder(run)
    for step in _STEPS_OF[role]:
        row = summary.get("steps", {}).get(step)
        if not row or row["state"] not in ("done", "cached"):
            continue
        record = folder.record(step, row["key"])
        if isinstance(record, str):
            raise DataError(
                f"the result of {step} in {run} must be whole, but {record}. "
                "Run the recipe again to make it anew."
            )
        preferred = {name: record.result[name] for name in _NAMES if name in record.result}
        for path in _model_directories(record.dir, [preferred, record.result]):
            return path
    needed = _STEPS_OF[role][-1]
    raise DataError(
        f"{run} must hold a {role}, got a run without one. Run the recipe until {needed}."
    )


def _model_directories(base: Path, value: Any) -> Iterator[Path]:
    """Directories with a model among the texts of a result, and the step's own folders."""
    if isinstance(value, str):
        path = base / value
        if all((path / name).is_file() for name in _FILES):
            yield path
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _model_directories(base, inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _model_directories(base, inner)


def _shipped(name: str, role: Role) -> Path:
    files = SHIPPED_WEIGHTS.glob(f"*/{role}/{_FILES[1]}")
    there = sorted(file.parents[1].name for file in files)  # a name and no path: not `../demo`
    path = SHIPPED_WEIGHTS / name / role
    if name in there and all((path / file).is_file() for file in _FILES):
        return path
    raise DataError(
        f"this installation must ship {role} weights of {name}, got those of "
        f"{', '.join(there) or 'nothing'}. "
        "Train some with `nitrogen run demo` and name them with --run runs/demo."
    )


def newest_run(root: Path = Path("runs")) -> Path | None:
    """The run folder under `root` that finished last and has a champion."""
    found = [
        (path.stat().st_mtime, path.parent)
        for path in root.glob("*/summary.json")
        if isinstance(summary := read_json(path), dict) and summary.get("champion")
    ]
    return max(found)[1] if found else None


def recipe_of(run: Path) -> Recipe:
    """The recipe that a run folder was last run with."""
    values = read_json(Path(run) / "recipe.json")
    if not isinstance(values, dict):
        raise ConfigError(
            f"--run must be the folder of a run, got {run} (it has no recipe.json). "
            "Give the --out of `nitrogen run`."
        )
    return recipe_from_values(values)
