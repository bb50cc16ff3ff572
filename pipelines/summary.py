"""DIR/summary.json: the outcome of a run, for scripts and for people."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nitrogen.pipelines.atomic_json import read_json, write_json
from nitrogen.pipelines.installed import installed
from nitrogen.pipelines.masking import mask_secrets
from nitrogen.pipelines.recipe import Recipe
from nitrogen.pipelines.revision import commit
from nitrogen.platform.errors import ConfigError

QUALITY = ("fd_lite0", "n", "ms_p50", "gflops")
_PICTURES = (".png", ".webp", ".jpg")
_REQUEST = (
    *("class", "prompt", "seed", "policy", "threshold", "budget", "num_inference_steps"),
    "guidance_scale",
)


@dataclass(frozen=True)
class StepOutcome:
    """How a step ended: state "done", "cached", "failed" or "stopped".

    seconds: in this run, 0 when cached; took_s: of the run that did it, if it is done.
    """

    key: str
    state: str
    seconds: float
    result: Mapping[str, Any] = field(default_factory=dict)
    dir: Path | None = None
    lineage: Mapping[str, Any] = field(default_factory=dict)
    took_s: float | None = None

    def row(self) -> dict[str, Any]:
        row: dict[str, Any] = {
            "key": self.key,
            "state": self.state,
            "seconds": round(self.seconds, 3),
            "took_s": self.took_s,
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
        "speedup": evaluated.get("speedup"),
        "champion": _champion(results.get("promote", {})),
        "images": sorted({path for outcome in outcomes.values() for path in _pictures(outcome)}),
        "report": _report(outcomes.get("report")),
        "request": _request(results.get("serve", {}).get("request")),
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
    if pace := summary.get("speedup"):
        ends = [pace.get(end) for end in ("low", "high")]
        known = "" if None in ends else f"{ends[0]:.3g} to {ends[1]:.3g}, 95 %, "
        yield (
            f"speed     the student is {pace['value']:.3g} times as fast as the teacher "
            f"({known}n = {pace.get('n')})"
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
        yield f"serve     {installed('nitrogen')} serve --run {shlex.quote(str(folder))}"
    if summary.get("request"):
        yield f"request   {summary['request']}"
    uri = shlex.quote(str(summary.get("tracking_uri")))
    yield f"MLflow    {installed('mlflow')} ui --backend-store-uri {uri}"


def _quality(part: Any) -> dict[str, Any] | None:
    """The four numbers; a measurement {"value", "low", "high"} also gives its interval."""
    if not isinstance(part, Mapping):
        return None
    row: dict[str, Any] = {}
    for name in QUALITY:
        entry = part.get(name)
        if isinstance(entry, Mapping):
            row[name] = entry.get("value")
            row |= {f"{name}_{end}": entry[end] for end in ("low", "high") if end in entry}
            if name == "fd_lite0" and "n" in entry:
                row["n"] = entry["n"]
        elif entry is not None or name not in row:
            row[name] = entry
    return row


def _champion(promoted: Mapping[str, Any]) -> dict[str, Any] | None:
    named = promoted.get("champion")
    if isinstance(named, Mapping):
        return {"name": named.get("name"), "version": named.get("version")}
    if "version" in promoted and promoted.get("promoted", True):
        return {"name": promoted.get("name"), "version": promoted.get("version")}
    return None


def _pictures(outcome: StepOutcome) -> Iterator[str]:
    """Absolute paths of the pictures that a step's result names."""
    base = outcome.dir or Path()
    for text in _strings(outcome.result):
        if text.endswith(_PICTURES) and (base / text).is_file():
            yield str(base / text)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _strings(inner)


def _request(sent: Any) -> str | None:
    """The request that the serve step sent, as a command against `nitrogen serve`."""
    if not isinstance(sent, Mapping):
        return None
    body = {name: sent[name] for name in _REQUEST if name in sent}
    body["response_format"] = "png"
    return (
        "curl -s http://127.0.0.1:8000/v1/images/generations "
        f"-H 'content-type: application/json' -d {shlex.quote(json.dumps(body))} -o image.png"
    )


def _report(outcome: StepOutcome | None) -> str | None:
    named = outcome.result.get("report") if outcome is not None else None
    return str((outcome.dir or Path()) / str(named)) if outcome is not None and named else None
