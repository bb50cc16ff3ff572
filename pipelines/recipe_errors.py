"""pydantic's findings as sentences: the field, the constraint, the value, where, the remedy."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from nitrogen.pipelines.recipe_source import KeyPath, RawRecipe

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "string": "text",
    "bool": "true or false",
    "tuple": "a list",
    "list": "a list",
    "dict": "a mapping",
    "model": "a mapping of keys",
    "model_attributes": "a mapping of keys",
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
    "multiple_of": ("a multiple of", "multiple_of"),
}


def sentences(error: ValidationError, model: type[BaseModel], raw: RawRecipe) -> list[str]:
    """One sentence a problem, in the order of the recipe, without repetitions."""
    items = [item for item in error.errors(include_url=False) if not _echo(item)]
    return list(dict.fromkeys(_sentence(item, model, raw) for item in items))


def _echo(item: Any) -> bool:
    """A list is called too short by the entries that are wrong, which are told by themselves."""
    given = item["input"]
    return (
        item["type"] == "too_short"
        and isinstance(given, list | tuple)
        and len(given) >= item["ctx"]["min_length"]
    )


def _sentence(item: Any, model: type[BaseModel], raw: RawRecipe) -> str:
    path: KeyPath = tuple(item["loc"])
    if item["type"] == "extra_forbidden":
        where = raw.origin(path) or "the recipe"
        return f"{dotted(path)} must be a known key, got an unknown one at {where}. " + _suggest(
            path, model
        )
    if item["type"] == "missing":
        above = dotted(path[:-1])
        place = f"under {above}:" if above else "at the top of the recipe"
        return f"{dotted(path)} must be given, got nothing. Add it {place}."
    path = _written(path, raw)
    source = raw.origin(path)
    remedy = f"Change it at {source}." if source and source != "--set" else "Give another value."
    if item["type"] == "value_error":
        text = str(item["ctx"]["error"])
        if path and text.startswith(f"{path[-1]} "):  # a validator of that very field
            path = path[:-1]
        return f"{dotted(path)}.{text}" if path else text
    return f"{dotted(path)} must be {_constraint(item)}, got {_shown(item['input'])}. {remedy}"


def _constraint(item: Any) -> str:
    kind, ctx = item["type"], item.get("ctx", {})
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"{words} {ctx[key]}"
    if kind == "too_short":
        return f"a list of at least {ctx['min_length']}"
    if kind in ("literal_error", "enum"):
        return f"one of {ctx['expected']}"
    stem = (
        kind.removesuffix("_size")
        .removesuffix("_type")
        .removesuffix("_parsing")
        .removesuffix("_from_float")
    )
    if stem in _KINDS:
        return _KINDS[stem]
    message = str(item["msg"])
    return message[:1].lower() + message[1:].removeprefix("Input should be ")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def dotted(path: Iterable[str | int]) -> str:
    return ".".join(str(part) for part in path)


def _written(path: KeyPath, raw: RawRecipe) -> KeyPath:
    """`path` without the parts that pydantic adds for the members of a union."""
    # `--set a.b.c=1` has an origin for a.b.c alone.
    while len(path) > 1 and path not in raw.origins and not raw.given(path):
        path = path[:-1]
    return path


def known_keys(model: type[BaseModel], prefix: KeyPath = ()) -> Iterator[KeyPath]:
    """Every key path of a recipe, sections and leaves."""
    for name, info in model.model_fields.items():
        yield (*prefix, name)
        for inner in _models_in(info.annotation):
            yield from known_keys(inner, (*prefix, name))


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for part in typing.get_args(annotation):
            yield from _models_in(part)


def _suggest(path: KeyPath, model: type[BaseModel]) -> str:
    """The key that was meant: of this name elsewhere, or of a similar name here or elsewhere."""
    keys = list(known_keys(model))
    siblings = [key for key in keys if key[:-1] == path[:-1]]
    named = [key for key in keys if key[-1] == path[-1]]
    # A key of the same name further down the same section is meant sooner than one elsewhere.
    named.sort(key=lambda key: key[: len(path) - 1] != path[:-1])
    for candidates in (named, _similar(path, siblings), _similar(path, keys)):
        if candidates:
            return f"Did you mean {dotted(candidates[0])}?"
    names = ", ".join(sorted(str(key[-1]) for key in siblings)) or "none"
    return f"Known here: {names}."


def _similar(path: KeyPath, keys: list[KeyPath]) -> list[KeyPath]:
    names = {str(key[-1]): key for key in reversed(keys)}
    close = difflib.get_close_matches(str(path[-1]), names, n=1, cutoff=0.7)
    return [names[name] for name in close]
