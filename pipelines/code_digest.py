"""The digest of the code a step runs: its module and every module of ours that it imports.

Read from the syntax tree, nothing is executed. Imports inside functions count, and so do import
paths written as strings ("nitrogen.pipelines.training.teacher:train"). Comments, layout and
docstrings do not change a digest, since they do not change a result.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "nitrogen"

# They carry values to and from a step without changing what it computes; an edit of the progress
# display must not repeat a training.
_NEUTRAL = tuple(
    f"{PACKAGE}.{name}"
    for name in (
        "pipelines.context",
        "pipelines.executor",
        "pipelines.progress",
        "platform.cluster",
        "platform.errors",
        "platform.tracking",
        "platform.training_tracking",
    )
)
_BESIDE = (".j2", ".html", ".css", ".cpp", ".h")
_IMPORT_PATH = re.compile(rf"^({PACKAGE}(?:\.\w+)+)(?::\w+)?$")


def code_digests(module: str) -> dict[str, str]:
    """For `module` and all it imports from this project: dotted name -> sha256 of its code."""
    found: dict[str, str] = {}
    ours = frozenset((PACKAGE, module.partition(".")[0]))
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = None if name in found else _source_path(name, ours)
        if path is None:
            continue
        found[name], imported = _read(path, path.stat().st_mtime_ns)
        waiting.extend(imported)
        found.update(_beside(path.parent))
    return dict(sorted(found.items()))


def _beside(folder: Path) -> dict[str, str]:
    """Page templates and C++ beside a module: they are code as well."""
    return {
        f"{folder.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.suffix in _BESIDE
    }


@functools.lru_cache(maxsize=2048)
def _read(path: Path, _mtime_ns: int) -> tuple[str, tuple[str, ...]]:
    tree = ast.parse(path.read_bytes(), filename=str(path))
    imported = tuple(dict.fromkeys(_imports(tree)))
    for node in ast.walk(tree):
        _drop_docstring(node)
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), imported


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            # `from nitrogen.model import unet` names a module, not an attribute.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            match = _IMPORT_PATH.match(node.value)
            if match:
                yield match.group(1)


def _drop_docstring(node: ast.AST) -> None:
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return
    if ast.get_docstring(node, clean=False) is not None:
        node.body = node.body[1:]


@functools.lru_cache(maxsize=4096)
def _source_path(name: str, ours: frozenset[str]) -> Path | None:
    """The file of a module of ours; None for folders, attributes and other projects."""
    if name.partition(".")[0] not in ours or name.startswith(_NEUTRAL):
        return None
    parent, _, _ = name.rpartition(".")
    if parent and _source_path(parent, ours) is not None:
        return None  # an attribute of a module; find_spec would import that module to look
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)
