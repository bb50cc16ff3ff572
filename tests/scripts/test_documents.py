"""README's file tree is that of now, every file has its phrase, and links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs")


def tree(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/tree.py", *options]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)


def documents(root: Path) -> list[Path]:
    named = (root / name for name in DOCUMENTS)
    return [p for n in named for p in (sorted(n.rglob("*.md")) if n.is_dir() else [n])]


def test_the_tree_in_the_readme_is_fresh(repository: Path) -> None:
    checked = tree(repository, "--check")
    assert checked.returncode == 0, checked.stderr


def test_every_row_of_the_tree_has_a_phrase(repository: Path) -> None:
    rows = tree(repository).stdout.splitlines()
    assert len(rows) > 50
    assert [row for row in rows if len(row.split(maxsplit=1)) < 2] == []


@pytest.mark.parametrize("text", ["no markers", "<!-- tree: begin -->"])
def test_a_readme_without_markers_is_refused(repository: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a.py").write_text('"""What a is."""\n')
    (tmp_path / "README.md").write_text(text)
    script = (repository / "scripts" / "tree.py").read_text(encoding="utf-8")
    (tmp_path / "scripts" / "tree.py").write_text(script)
    refused = tree(tmp_path, "--write")
    assert refused.returncode == 1
    assert "must hold the markers" in refused.stderr
    assert (tmp_path / "README.md").read_text() == text


def test_links_between_documents_lead_to_files(repository: Path) -> None:
    dead = [
        f"{path.relative_to(repository)}: {target}"
        for path in documents(repository)
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", path.read_text(encoding="utf-8"))
        if not (path.parent / target).exists()
    ]
    assert dead == []


def commands(path: Path) -> list[list[str]]:
    """The words of every `nitrogen ...` in the document's shell blocks."""
    blocks = re.findall(r"```bash\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in line.split("&&")]
    words = [shlex.split(part, comments=True) for part in parts if part.strip()]
    return [each[1:] for each in words if each[:1] == ["nitrogen"]]


def test_every_command_in_the_documents_is_one_that_the_program_takes(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import typer

    from nitrogen.pipelines.cli import app
    from nitrogen.pipelines.recipe import load_recipe

    monkeypatch.setenv("NITROGEN_ADDRESS", "http://127.0.0.1:8265")  # README exports it there
    found = [words for path in documents(repository) for words in commands(path)]
    assert len(found) >= 15
    for words in found:
        command, rest = typer.main.get_command(app), list(words)
        while hasattr(command, "commands"):
            command = command.commands[rest.pop(0)]
        context = command.make_context("nitrogen", rest)  # raises for an unknown option
        if "overrides" in context.params:
            load_recipe(context.params["recipe"], context.params["overrides"] or [])
