"""DIR/summary.json: the outcome of a run, for scripts and for people."""

from __future__ import annotations

import functools
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nitrogen.pipelines.atomic_json import read_json, write_json
from nitrogen.pipelines.masking import mask_secrets
from nitrogen.pipelines.recipe import Recipe
from nitrogen.platform.errors import ConfigError

QUALITY = ("fd_lite0", "n", "ms_p50", "gflops")
_REQUEST = (
    "curl -s http://127.0.0.1:8000/v1/images/generations -H 'content-type: application/json' "
    """-d '{"seed": 1, "response_format": "png"}' -o image.png"""
)
_PICTURES = (".png", ".webp", ".jpg")


@dataclass(frozen=True)
class StepOutcome:
    """How a step ended: state "done", "cached", "failed" or "stopped"."""

    key: str
    state: str
    seconds: float
    result: Mapping[str, Any] = field(default_factory=dict)
    dir: Path | None = None
    lineage: Mapping[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        row: dict[str, Any] = {
            "key": self.key,
            "state": self.state,
            "seconds": round(self.seconds, 3),
            "dir": str(self.dir) if self.dir else None,
        }
        if "adopted_from" in self.lineage:
            row["adopted_from"] = self.lineage["adopted_from"]
        return row


def write_summary(
    path: Path,
    *,
    recipe: Recipe,
    tracking_uri: str,
    outcomes: Mapping[str, StepOutcome],
    status: str,
    error: str | None,
    seconds: float,
) -> None:
    """Write the summary; parts that the run did not reach are null."""
    results = {name: outcome.result for name, outcome in outcomes.items()}
    evaluated = results.get("evaluate", {})
    summary = {
        "version": 1,
        "recipe": recipe.name,
        "recipe_digest": recipe.digest(),
        "seed": recipe.seed,
        "commit": commit(),
        "status": status,
        "error": error,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(seconds, 3),
        "steps": {name: outcome.row() for name, outcome in outcomes.items()},
        "teacher": _quality(evaluated.get("teacher")),
        "student": _quality(evaluated.get("student")),
        "untrained": _quality(evaluated.get("untrained")),
        "champion": _champion(results.get("promote", {})),
        "images": sorted(set(_pictures(results))),
        "report": _text(results.get("report", {}).get("report")),
        "request": results.get("serve", {}).get("request"),
        "tracking_uri": mask_secrets(tracking_uri),
    }
    write_json(path, summary)


def read_summary(run: Path) -> dict[str, Any]:
    """The summary of a run folder; ConfigError when there is none."""
    summary = read_json(Path(run) / "summary.json")
    if not isinstance(summary, dict):
        raise ConfigError(
            f"--run must be the folder of a run, got {run} (it has no summary.json). "
            "Give the --out of `nitrogen run`."
        )
    return summary


def closing_lines(summary: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """What a person wants to know after a run: where things lie and what to type next."""
    for who in ("teacher", "student"):
        row = summary.get(who)
        if row:
            yield f"{who:<9} " + "  ".join(
                f"{name} {value:.4g}" for name, value in row.items() if value is not None
            )
    champion = summary.get("champion")
    if champion:
        yield f"champion  {champion['name']} version {champion['version']}"
    if summary.get("report"):
        yield f"report    {summary['report']}"
    images = summary.get("images") or []
    if images:
        yield f"pictures  {len(images)}, for example {images[0]}"
    if champion:
        yield f"serve     nitrogen serve --run {shlex.quote(str(folder))}"
        yield f"request   {summary.get('request') or _REQUEST}"
    uri = shlex.quote(str(summary.get("tracking_uri")))
    yield f"MLflow    mlflow ui --backend-store-uri {uri}"


def _quality(part: Any) -> dict[str, Any] | None:
    if not isinstance(part, Mapping):
        return None
    return {name: part.get(name) for name in QUALITY}


def _champion(promoted: Mapping[str, Any]) -> dict[str, Any] | None:
    named = promoted.get("champion")
    if isinstance(named, Mapping):
        return {"name": named.get("name"), "version": named.get("version")}
    if "version" in promoted and promoted.get("promoted", True):
        return {"name": promoted.get("name"), "version": promoted.get("version")}
    return None


def _pictures(value: Any) -> Iterator[str]:
    if isinstance(value, str) and value.endswith(_PICTURES) and Path(value).is_file():
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _pictures(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _pictures(inner)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


@functools.cache
def commit() -> str | None:
    """Git commit of the source, "-dirty" with local changes; None for an installed wheel."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        name = _git(root, "rev-parse", "--short=12", "HEAD")
        return name + ("-dirty" if _git(root, "status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()
