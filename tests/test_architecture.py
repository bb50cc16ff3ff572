"""The shape of the tree, enforced: who may import whom, names, sizes, packaging.

Each rule is a function from a root folder to a list of offences. It runs once over this repository
and once over a small tree that breaks it, so that no rule can go blind unseen.
"""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CODE = ("kernels", "model", "platform", "pipelines")
FOLDERS = (*CODE, "infra", "tests")
DATA_FOLDERS = {"bundled", "weights"}  # files that travel with a package, no code in them
MAX_LINES = 500
VAGUE = {"util", "utils", "common", "helper", "helpers", "manager", "managers", "misc"}

STDLIB = frozenset(sys.stdlib_module_names)
# kernels <- model <- pipelines -> platform. The two inner folders say all that they may import.
MAY_IMPORT = {
    "kernels": {"torch", "triton", "numpy", "einops", "nitrogen.kernels"},
    "model": {"torch", "numpy", "einops", "pydantic", "safetensors"}
    | {"nitrogen.kernels", "nitrogen.model"},
}
MAY_NOT_IMPORT = {
    "platform": {"nitrogen.kernels", "nitrogen.model", "nitrogen.pipelines", "triton"},
    "pipelines": set(),
}
# Never at the top of a file: the platform must start on a node without torch.
NOT_EARLY = {"platform": {"torch"}}
# Not for anyone: folders that are never imported, and folders without their `nitrogen.` prefix.
NEVER = {"nitrogen.infra", "nitrogen.tests", "infra", "tests", "kernels", "model", "pipelines"}


def python_files(root: Path, folders: tuple[str, ...] = CODE) -> Iterator[Path]:
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            if "__pycache__" not in path.parts:
                yield path


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of each import, those by `import_module("...")` included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            # `from nitrogen import model` names the folder only in the alias.
            bare = node.module == "nitrogen"
            for alias in node.names:
                yield node.lineno, f"nitrogen.{alias.name}" if bare else node.module
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            name = node.func.id if isinstance(node.func, ast.Name) else name
            if name in {"import_module", "__import__"} and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value


def unit(name: str) -> str:
    """What a rule speaks of: `nitrogen.<folder>` or the distribution's top-level name."""
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] == "nitrogen" else parts[0]


def import_direction(root: Path) -> list[str]:
    offences = []
    for path in python_files(root):
        folder = path.relative_to(root).parts[0]
        tree = ast.parse(path.read_text(encoding="utf-8"))
        early = {name for node in tree.body for _, name in imported_now(node)}
        for line, name in imported(tree):
            top = unit(name)
            if folder in MAY_IMPORT:
                wrong = top not in MAY_IMPORT[folder] and top not in STDLIB
            else:
                wrong = top in MAY_NOT_IMPORT[folder]
            too_early = top in NOT_EARLY.get(folder, ()) and name in early
            if wrong or too_early or top in NEVER:
                offences.append(f"{path.relative_to(root)}:{line} imports {name}")
    return offences


def imported_now(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Imports that run when the file is imported: not in a function, not under TYPE_CHECKING."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
        return
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from imported(node)
    for child in ast.iter_child_nodes(node):
        yield from imported_now(child)


def relative_imports(root: Path) -> list[str]:
    return [
        f"{path.relative_to(root)}:{node.lineno}"
        for path in python_files(root, FOLDERS)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level > 0
    ]


def init_files(root: Path) -> list[str]:
    found = (p for folder in FOLDERS for p in (root / folder).rglob("__init__.py"))
    return [str(p.relative_to(root)) for p in found]


def long_files(root: Path) -> list[str]:
    return [
        f"{path.relative_to(root)} has {lines} lines"
        for path in python_files(root, (*FOLDERS, "scripts"))
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    ]


def names(root: Path) -> list[str]:
    """Vague names anywhere; names of the standard library in the packages, `platform/` excepted."""
    offences = []
    for path in python_files(root, FOLDERS):
        inner = path.relative_to(root).with_suffix("").parts
        offences += [str(path.relative_to(root)) for part in inner if VAGUE & set(part.split("_"))]
        if inner[0] in CODE:
            offences += [str(path.relative_to(root)) for part in inner[1:] if part in STDLIB]
    return offences


def packages(root: Path) -> list[str]:
    """Folders with code that pyproject.toml does not list, and listed ones that are not there."""
    setuptools = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    rows = [name.removeprefix("nitrogen.").replace(".", "/") for name in setuptools["packages"]]
    listed = set(rows)
    folders = {str(path.parent.relative_to(root)) for path in python_files(root)}
    return (
        [f"{name} is not listed" for name in sorted(folders - listed)]
        + [f"{name} is not a folder" for name in sorted(listed) if not (root / name).is_dir()]
        + [f"{name} is listed twice" for name in sorted(listed) if rows.count(name) > 1]
    )


RULES: dict[Callable[[Path], list[str]], dict[str, str]] = {
    import_direction: {
        "kernels/a.py": "import einops, ray",
        "model/a.py": "def f():\n    from nitrogen.platform import errors",
        "platform/a.py": "from nitrogen import model",
        "platform/b.py": "import importlib\nimportlib.import_module('nitrogen.pipelines.plan')",
        "platform/c.py": "class A:\n    import torch",
        "pipelines/a.py": "from tests import conftest",
        "pipelines/b.py": "import model.unet",
    },
    relative_imports: {"model/a.py": "from . import unet", "tests/b.py": "from .x import y"},
    init_files: {"platform/__init__.py": "", "tests/model/__init__.py": ""},
    long_files: {"model/a.py": "x = 1\n" * 501, "tests/a.py": "x = 1\n" * 501},
    names: {
        "model/utils.py": "",
        "tests/image_helpers.py": "",
        "pipelines/queue.py": "",
        "pipelines/data/json/a.py": "",
    },
    packages: {"pipelines/new/a.py": "", "model/deep/er/a.py": ""},
}
HARMLESS = {
    "kernels/a.py": "import math\nimport torch\nfrom nitrogen.kernels import norm",
    "platform/a.py": "import ray\ndef f():\n    import torch\n    return torch",
    "pipelines/a.py": "from nitrogen import model, platform\nimport ray",
    "pyproject.toml": "[tool.setuptools]\npackages = "
    "['nitrogen.kernels', 'nitrogen.platform', 'nitrogen.pipelines']",
}


def write_tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_repository_keeps_the_rule(rule: Callable[[Path], list[str]], repository: Path) -> None:
    assert rule(repository) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_sees_each_offence(rule: Callable[[Path], list[str]], tmp_path: Path) -> None:
    root = write_tree(tmp_path, HARMLESS)
    assert rule(root) == []
    for number, (name, text) in enumerate(RULES[rule].items(), start=1):
        write_tree(root, {name: text})
        assert len(rule(root)) == number, name


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_packages(repository: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for folder in CODE:
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(repository / folder, source / folder, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repository / name, source / name)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('out'))"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=source, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    [wheel] = (source / "out").glob("*.whl")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("nitrogen/")}
    on_disk = {
        f"nitrogen/{path.relative_to(source)}"
        for folder in CODE
        for path in (source / folder).rglob("*")
        if path.is_file()
    }
    assert inside == on_disk
