"""Reading a recipe's text: YAML with the line and column of every key, `extends:`, `--set`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from nitrogen.platform.errors import ConfigError

KeyPath = tuple[str | int, ...]
MAX_CHARACTERS, MAX_ALIASES = 256_000, 32


class _RecipeLoader(yaml.SafeLoader):
    """Safe YAML that reads 1e-3 as a number (YAML 1.1 wants 1.0e-3), with few aliases: aliases of
    aliases double with every level, and twenty of them fill a memory."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._aliases = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            self._aliases += 1
            if self._aliases > MAX_ALIASES:
                told = f"*name too often, at most {MAX_ALIASES} aliases may stand in it"
                raise yaml.composer.ComposerError(None, None, told, self.peek_event().start_mark)
        return super().compose_node(parent, index)


_RecipeLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*)(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


@dataclass
class RawRecipe:
    """Values not yet validated, and for each key path where its value came from."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[KeyPath, str] = field(default_factory=dict)

    def origin(self, path: KeyPath) -> str | None:
        """Where `path`, or the closest key above it, was written; None for a default."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.origins:
                return self.origins[path[:end]]
        return None

    def given(self, path: KeyPath) -> bool:
        """Whether the recipe says anything at `path`; otherwise its value is a default."""
        value: Any = self.values
        for part in path:
            if not isinstance(value, Mapping) or part not in value:
                return False
            value = value[part]
        return True

    def merged(self, other: RawRecipe) -> RawRecipe:
        """This recipe with `other` laid over it: mappings merge, everything else is replaced."""
        kept = {
            path: where
            for path, where in self.origins.items()
            if not _replaced_above(path, other.values)
        }
        return RawRecipe(_merge(self.values, other.values), {**kept, **other.origins})


def check_size(text: str, label: str) -> None:
    """Raises ConfigError for what is too long to be a recipe."""
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(
            f"{label} must hold at most {MAX_CHARACTERS:,} characters, got {len(text):,}. Shorten "
            "it."
        )


def parse_text(text: str, label: str) -> RawRecipe:
    """Parse one YAML document; `label` names the file in origins and errors.

    Raises ConfigError with line and column for broken YAML, a repeated key, or no mapping.
    """
    check_size(text, label)
    loader = _RecipeLoader(text)
    try:
        node = loader.get_single_node()
        origins: dict[KeyPath, str] = {}
        if node is not None:
            _walk(node, (), label, origins)
        values = loader.construct_document(node) if node is not None else {}
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        where = f"{label}:{mark.line + 1}:{mark.column + 1}" if mark else label
        problem = exc.problem or exc.context or "it cannot be parsed"
        raise ConfigError(
            f"{where} must be valid YAML, got: {problem}. Correct that line."
        ) from exc
    except yaml.YAMLError as exc:
        raise ConfigError(f"{label} must be valid YAML, got: {exc}. Correct the file.") from exc
    except (RecursionError, ValueError) as exc:
        raise ConfigError(
            f"{label} must nest a few levels and hold numbers of a few digits, got "
            f"{type(exc).__name__}. Correct the file."
        ) from exc
    finally:
        loader.dispose()
    if not isinstance(values, dict):
        kind = type(values).__name__
        raise ConfigError(
            f"{label} must hold a mapping of sections, got a {kind}. Start with `name: my-recipe`."
        )
    return RawRecipe(values, origins)


def parse_overrides(
    overrides: Iterable[str], example: str = "distill.student.gating_penalty=0.3"
) -> RawRecipe:
    """`["distill.student.gating_penalty=0.3"]` as a recipe; values are read as YAML.

    example: of one, for messages. Raises ConfigError.
    """
    raw = RawRecipe()
    for text in overrides:
        dotted, equals, value = text.partition("=")
        path = tuple(dotted.strip().split("."))
        if not equals or not all(path):
            raise ConfigError(
                f"--set must be KEY=VALUE, got {text!r}. Write for example --set {example}."
            )
        check_size(value, f"--set {dotted[:80]}")
        try:
            parsed = yaml.load(value, Loader=_RecipeLoader)
        except (yaml.YAMLError, RecursionError, ValueError) as exc:
            raise ConfigError(
                f"--set {dotted} must be a YAML value, got {value[:80]!r}. Quote it if it is text."
            ) from exc
        _assign(raw.values, path, parsed)
        raw.origins |= dict.fromkeys(_paths(parsed, path), "--set")
    return raw


def _paths(value: Any, path: KeyPath) -> Iterator[KeyPath]:
    """The path of a value and of everything in it."""
    yield path
    inner = value.items() if isinstance(value, Mapping) else ()
    for key, below in enumerate(value) if isinstance(value, list) else inner:
        yield from _paths(below, (*path, key))


def _replaced_above(path: KeyPath, values: Mapping[str, Any]) -> bool:
    """Whether `values` put something in the place of what once held `path`: a list, a number."""
    value: Any = values
    for part in path:
        if not isinstance(value, Mapping):
            return True
        if part not in value:
            return False
        value = value[part]
    return False


def _walk(node: yaml.Node, path: KeyPath, label: str, origins: dict[KeyPath, str]) -> None:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            origins[(*path, index)] = _where(item, label)
            _walk(item, (*path, index), label, origins)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        name = str(key.value)
        where = (*path, name)
        if where in origins:
            raise ConfigError(
                f"{'.'.join(map(str, where))} must be given once, got it again at "
                f"{_where(key, label)} (first at {origins[where]}). Remove one of the two."
            )
        origins[where] = _where(key, label)
        _walk(value, where, label, origins)


def _where(node: yaml.Node, label: str) -> str:
    return f"{label}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"


def _merge(below: Mapping[Any, Any], above: Mapping[Any, Any]) -> dict[Any, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        if isinstance(value, Mapping) and isinstance(under, Mapping):
            merged[key] = _merge(under, value)
        else:
            merged[key] = value
    return merged


def _assign(values: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for part in path[:-1]:
        under = values.setdefault(part, {})
        if not isinstance(under, dict):
            raise ConfigError(
                f"--set {'.'.join(path)} must not go below {part}, which --set gave a value. "
                "Give one of the two."
            )
        values = under
    values[path[-1]] = value


def read_recipe_text(path: Path) -> str:
    """The file's text; ConfigError when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as exc:
        reason = exc.strerror or exc
        raise ConfigError(
            f"recipe must be a readable file, got {path} ({reason}). Check the path."
        ) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"recipe must be UTF-8 text, got {path}. Save it as UTF-8.") from exc
