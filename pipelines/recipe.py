"""A recipe: one YAML file with a section a step, validated, with the origin of every value."""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from nitrogen.pipelines.executor import ExecutorConfig
from nitrogen.pipelines.recipe_errors import dotted, sentences
from nitrogen.pipelines.recipe_source import (
    KeyPath,
    RawRecipe,
    parse_overrides,
    parse_text,
    read_recipe_text,
)
from nitrogen.pipelines.step_table import STEPS, StepSpec, config_class
from nitrogen.platform.errors import ConfigError

SHIPPED = Path(__file__).parent / "recipes"


class TrackingConfig(BaseModel):
    """Where MLflow keeps runs and the registry."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str | None = Field(None, description="MLflow URI; SQLite in the run folder by default")
    experiment: str | None = Field(None, description="MLflow experiment; the recipe's name")


class Recipe(BaseModel):
    """The part of a recipe that is not a step; `recipe_class()` adds a section for each step."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    seed: int = Field(0, ge=0, lt=2**31)
    executor: ExecutorConfig = ExecutorConfig()
    tracking: TrackingConfig = TrackingConfig()

    def section(self, step: str) -> BaseModel:
        """The config of one step."""
        return getattr(self, step)

    def canonical(self) -> dict[str, Any]:
        """The resolved recipe as JSON values: what is logged, hashed and shipped to a cluster."""
        return self.model_dump(mode="json")

    def digest(self) -> str:
        """sha256 of the resolved recipe."""
        text = json.dumps(self.canonical(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class LoadedRecipe:
    """A validated recipe, the file it came from, and for each leaf where its value came from."""

    recipe: Recipe
    path: Path
    origins: Mapping[str, str]


def recipe_class(steps: Mapping[str, StepSpec] = STEPS) -> type[Recipe]:
    """The full recipe model; imports the step modules for their config classes."""
    return _recipe_class(tuple(steps.values()))


@functools.lru_cache(maxsize=8)
def _recipe_class(specs: tuple[StepSpec, ...]) -> type[Recipe]:
    sections: dict[str, Any] = {}
    for spec in specs:
        model = config_class(spec)
        optional = not any(info.is_required() for info in model.model_fields.values())
        sections[spec.name] = (model, Field(default_factory=model) if optional else ...)
    return create_model("Recipe", __base__=Recipe, **sections)


def shipped_recipes() -> dict[str, Path]:
    """Name -> file of the recipes that come with the package."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def find_recipe(name: str, beside: Path | None = None) -> Path:
    """The file that `name` means: a path, or the name of a shipped recipe.

    `beside`: the folder of the recipe that extends this one; relative paths are tried there first.
    """
    looks_like_path = name.endswith((".yaml", ".yml")) or "/" in name
    candidates = [Path(name).expanduser()]
    if beside is not None:
        candidates.insert(0, beside / name)
    for candidate in candidates:
        if looks_like_path and candidate.is_file():
            return candidate
    shipped = shipped_recipes()
    if name in shipped:
        return shipped[name]
    close = difflib.get_close_matches(name, shipped, n=1)
    hint = f"Did you mean {close[0]}?" if close else f"Shipped: {', '.join(shipped) or 'none'}."
    raise ConfigError(f"recipe must be a YAML file or a shipped name, got {name}. {hint}")


def load_recipe(
    name: str,
    overrides: Iterable[str] = (),
    steps: Mapping[str, StepSpec] = STEPS,
) -> LoadedRecipe:
    """Read, extend, override and validate a recipe.

    Raises ConfigError with every problem at once, each naming field, value, place and remedy.
    """
    path = find_recipe(name)
    raw = _read_with_base(path).merged(parse_overrides(overrides))
    model = recipe_class(steps)
    values = {
        key: {} if value is None and _is_section(model, key) else value
        for key, value in raw.values.items()
    }
    try:
        recipe = model.model_validate(values)
    except ValidationError as exc:
        problems = sentences(exc, model, raw)
        if len(problems) == 1:
            raise ConfigError(problems[0]) from exc
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise ConfigError(f"{path} has {len(problems)} problems:\n{listed}") from exc
    origins = {
        dotted(leaf): str(raw.origin(leaf)) if raw.given(leaf) else "default"
        for leaf in _leaves(recipe.canonical())
    }
    return LoadedRecipe(recipe, path, origins)


def _read_with_base(path: Path) -> RawRecipe:
    raw = parse_text(read_recipe_text(path), str(path))
    base_name = raw.values.pop("extends", None)
    raw.origins.pop(("extends",), None)
    if base_name is None:
        return raw
    base_path = find_recipe(str(base_name), beside=path.parent)
    base = parse_text(read_recipe_text(base_path), str(base_path))
    if "extends" in base.values:
        raise ConfigError(
            f"extends must name a recipe that extends nothing, got {base_path}. "
            "Extend its base directly."
        )
    return base.merged(raw)


def _is_section(model: type[Recipe], key: str) -> bool:
    """Whether `key` names a mapping: `serve:` with nothing under it is empty, not null."""
    info = model.model_fields.get(key)
    annotation = info.annotation if info else None
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _leaves(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    else:
        yield path


def named_tracking_uri(recipe: Recipe) -> str | None:
    """The MLflow URI that the recipe or MLFLOW_TRACKING_URI names; None for the run folder's."""
    return recipe.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or None


def recipe_from_values(values: Mapping[str, Any], steps: Mapping[str, StepSpec] = STEPS) -> Recipe:
    """A recipe from its canonical JSON values, as stored in a run folder."""
    try:
        return recipe_class(steps).model_validate(values)
    except ValidationError as exc:
        problems = sentences(exc, recipe_class(steps), RawRecipe())
        raise ConfigError("\n".join(problems)) from exc
