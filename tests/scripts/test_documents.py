"""README's file tree is that of now, every file has its phrase, and links lead somewhere."""

from __future__ import annotations

import re
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
