"""Writes README's file tree from the first line of every module's docstring.

python scripts/tree.py            print the tree
python scripts/tree.py --write    put it between README's markers
python scripts/tree.py --check    exit 1 if README is stale
"""

from __future__ import annotations

import argparse
import ast
import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

BEGIN, END = "<!-- tree: begin -->", "<!-- tree: end -->"

# What has no docstring to read.
FOLDERS = {
    "kernels": "operations on rows; each equals its reference",
    "kernels/cpu": "C++ operators of a processor, built when first used",
    "kernels/gpu": "Triton operators: NVIDIA and AMD from one source",
    "model": "the denoiser, its budget and its sampler; knows torch, nothing of Ray",
    "platform": "Ray, MLflow, S3, registry and endpoint; knows nothing of the model",
    "platform/serving": "the HTTP endpoint on Ray Serve",
    "pipelines": "the command line, recipes and steps: where model and platform meet",
    "pipelines/bench": "the benchmark: every method on the same seeds, in one run",
    "pipelines/commands": "the commands of `nitrogen`",
    "pipelines/data": "pictures in, Parquet shards and a manifest out, batches by (seed, step)",
    "pipelines/data/bundled": "the emoji that ship with the project, and their licences",
    "pipelines/evaluation": "what the evaluate step measures",
    "pipelines/metrics": "distances, intervals and timings",
    "pipelines/recipes": "recipes that ship: one YAML file each",
    "pipelines/report": "the HTML report",
    "pipelines/results": "pages, plots and verdicts from benchmark files",
    "pipelines/steps": "one module a step, each `run(config, context) -> result`",
    "pipelines/training": "the two training stages",
    "pipelines/weights": "the weights that ship: teacher and student, 32 px",
    "infra": "manifests for clusters; never imported",
    "docs": "how it is built, what was tried, what came out",
    "docs/results": "tables, plots and verdicts of the benchmark",
    "infra/kuberay": "manifests for KubeRay",
    "infra/prometheus": "what to scrape, and what to be woken for",
    "scripts": "what `make` calls",
    "tests": "mirrors the tree; plain `pytest` needs no Ray, GPU or network",
}
LEAVES = {"tests", "docs/results", "pipelines/data/bundled", "pipelines/weights"}  # files unnamed
SHOWN = {".py", ".sh", ".yaml", ".cpp", ".h", ".md", "Dockerfile"}
DOCS = {
    "architecture.md": "how the parts fit, and who may know whom",
    "benchmark.md": "how methods are compared, and what the figures mean",
    "cli.md": "every command, and the exit codes",
}
ROOT = {
    "Makefile": "the contributor's guide in targets",
    "pyproject.toml": "the package, its ranges of versions, and the settings of the tools",
    "constraints.txt": "exact versions, which `make` installs",
    "requirements-features.txt": "the networks that images are compared by",
    "ray_cluster.yaml": "a cluster on AWS: head, CPU, GPU and spot workers",
}


def tracked(root: Path) -> list[Path]:
    """Files under version control, relative to the root; all files where there is no git."""
    listed = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True)
    if listed.returncode == 0:
        names = [Path(name) for name in listed.stdout.splitlines()]
        return sorted(name for name in names if (root / name).is_file())
    hidden = ("__pycache__", "runs", "build", "dist")
    every = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return sorted(p for p in every if not any(q.startswith(".") or q in hidden for q in p.parts))


def phrase(path: Path) -> str:
    """What a file says of itself first: the line of a docstring, the clause of a text."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0].rstrip(".")
    if path.suffix in (".cpp", ".h"):
        lines = itertools.takewhile(lambda line: line.startswith("//"), text.splitlines())
        return clause(" ".join(line[3:] for line in lines))
    if path.suffix == ".md":
        told = (line for line in text.splitlines() if not line.startswith("#"))
        return DOCS.get(path.name) or clause(" ".join(told))
    comments = (line[2:] for line in text.splitlines() if line.startswith("# "))
    return next(comments, "").partition("; ")[0].rstrip(".")


def clause(text: str) -> str:
    return re.split(r"[.:;] |\.$", text.strip())[0]


def shown(path: Path) -> bool:
    return (path.suffix or path.name) in SHOWN and path.name != "README.md"


def branch(folder: Path, files: list[Path], root: Path) -> Iterator[tuple[str, str]]:
    """A folder, its files, then its sub-folders, as (indented name, phrase)."""
    depth = len(folder.parts)
    yield f"{'  ' * (depth - 1)}{folder.name}/", FOLDERS.get(folder.as_posix(), "")
    if folder.as_posix() in LEAVES:
        return
    inside = [path for path in files if path.is_relative_to(folder)]
    for path in inside:
        if path.parent == folder and shown(path):
            yield f"{'  ' * depth}{path.name}", phrase(root / path)
    for name in sorted({path.parts[depth] for path in inside if len(path.parts) > depth + 1}):
        yield from branch(folder / name, inside, root)


def tree(root: Path) -> str:
    files = tracked(root)
    tops = [top for top in FOLDERS if "/" not in top and any(p.parts[0] == top for p in files)]
    rows = [row for top in tops for row in branch(Path(top), files, root)]
    rows += [(name, text) for name, text in ROOT.items() if Path(name) in files]
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(f"{name:<{width}}{text}".rstrip() for name, text in rows)


def with_tree(readme: str, root: Path) -> str:
    """README's text with the tree of now between its markers."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"error: README.md must hold the markers {BEGIN} and {END}.")
    return f"{before}{BEGIN}\n```text\n{tree(root)}\n```\n{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    root = Path(__file__).resolve().parent.parent
    readme = root / "README.md"
    if not (options.write or options.check):
        print(tree(root))
        return 0
    old = readme.read_text(encoding="utf-8")
    new = with_tree(old, root)
    if options.write:
        readme.write_text(new, encoding="utf-8")
    elif new != old:
        print("README.md's file tree is stale. Run `make docs`.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
