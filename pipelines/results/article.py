"""The article's own table: teacher and adaptive student at equal steps, and what speaks against the
figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nitrogen.pipelines.bench.figures import MAX_FD_RATIO
from nitrogen.pipelines.bench.row_names import SOLVERS
from nitrogen.pipelines.bench.twins import BY_ROWS
from nitrogen.pipelines.results.files import BenchFile
from nitrogen.pipelines.results.markdown import NONE, interval, listed, plain, table
from nitrogen.pipelines.results.pairing import Pair, best_pair, is_teacher, saving_pairs
from nitrogen.pipelines.results.targets import MIN_FRECHET
from nitrogen.pipelines.results.too_good import better_than_teacher

ARTICLE = (
    ("the article, full (ImageNet 256 px, A100)", "FID 3.7", "85 ms", "95", "1.8 B"),
    ("the article, adaptive", "FID 3.9", "55 ms (-35 %)", "62 (-35 %)", "1.8 B"),
)
EXPLAINED = (
    "fd_lite0 is a Frechet distance of EfficientNet-Lite0 features, **not FID**: only changes "
    "may be set beside the article's. Of the rows that were chosen on validation for what they "
    "save at equal steps, shown is the one whose teacher is nearest to the data, of those within "
    f"{MAX_FD_RATIO:g} of its distance. Times are medians of a picture, measured on "
)


def article_table(files: Sequence[BenchFile], batch: str) -> str:
    """The article's two rows, and ours below them: teacher and adaptive student at equal steps."""
    rows: list[Sequence[str]] = list(ARTICLE)
    for file in _with_batch(files, batch):
        pair = best_pair(file.content, batch)
        if pair is not None:
            rows += _rows_of(file.content, pair, batch)
    headers = ("", "distance", f"latency, batch {batch}", "GFLOPs", "parameters")
    return table(headers, rows)


def article_note(files: Sequence[BenchFile], batch: str) -> str:
    """What the table's numbers of ours are, and what they are not; a line for each data set."""
    here = _with_batch(files, batch)
    machines = "; ".join(sorted({file.machine for file in here}))
    lines = [f"{EXPLAINED}{machines}.\n"]
    for file in here:
        pair = best_pair(file.content, batch)
        if pair is not None:
            made = "; ".join(filter(None, [f"commit {file.source['commit']}", file.load]))
            told = [
                _shown(pair), _at_all_steps(file.content, batch),
                _static_twin(file.content, pair, batch), _warning(file.content, pair),
            ]  # fmt: skip
            lines.append(f"- {file.content['dataset']} ({made}): {' '.join(filter(None, told))}")
    return "\n".join(lines)


def _with_batch(files: Sequence[BenchFile], batch: str) -> list[BenchFile]:
    return [file for file in files if batch in file.content["summary"]]


def _shown(pair: Pair) -> str:
    """What was compared, where that is not what the note says of all."""
    saved = interval(pair.saved, 100, " %")
    if pair.fd_ratio is None:
        return f"shown is {pair.ours['name']}, which saves {saved}; no distance: too few pictures."
    if not pair.within:
        found = f"no row stays within {MAX_FD_RATIO:g} of the teacher's distance; shown is the "
        found += f"nearest one, which saves {saved}"
    else:
        found = f"saves {saved} of the time"
    few = "" if pair.enough else f"; below {MIN_FRECHET:,} pictures no distance is a headline"
    return f"{found}{few}."


def _at_all_steps(content: Mapping[str, Any], batch: str) -> str:
    """What is saved at each number of steps, beside how near the teacher itself is there: to be
    near to it says little where it is far off."""
    saved = {p.ours["setting"]["num_steps"]: p.saved["value"] for p in saving_pairs(content, batch)}
    text = ""
    if len(saved) > 1:
        told = [f"{100 * saved[steps]:.0f} %" for steps in sorted(saved)]
        steps = [str(steps) for steps in sorted(saved)]
        text = f"At {listed(steps)} steps {listed(told)} are saved. "
    saving = content.get("saving") or {}
    if none := [steps for steps, name in saving.items() if name is None]:
        text += f"At {listed(none)} steps no budget was as near as the teacher on validation. "
    far = {
        row["setting"]["num_steps"]: row["fd_lite0"]["value"]
        for row in content.get("headline") or () if is_teacher(row) and row.get("fd_lite0")
    }  # fmt: skip
    if len(far) > 1:
        told = [f"{far[steps]:,.0f} at {steps}" for steps in sorted(far)]
        text += f"The teacher's own distance is {listed(told)} steps"
        least = min(far, key=lambda steps: far[steps])
        text += ": few steps ask little." if least == max(far) else f", least at {least} steps."
    return text.strip()


def _static_twin(content: Mapping[str, Any], pair: Pair, batch: str) -> str:
    """The fastest static schedule of the same network at as many steps that is no slower and, by
    both errors over its seeds, no farther; by values alone, without an interval."""
    steps, mine = pair.ours["setting"]["num_steps"], pair.ours["ms"][batch]["p50"]
    found = [
        row for row in content["rows"]
        if row["group"] == "static" and row["setting"]["num_steps"] == steps
        and (row["ms"] or {}).get(batch) and row["ms"][batch]["p50"] <= mine
        and all(row[e]["value"] <= pair.ours[e]["value"] for e in ("mse", "kid"))
    ]  # fmt: skip
    if not found:
        return ""
    best = min(found, key=lambda row: row["ms"][batch]["p50"])
    name, ms = best["name"].removesuffix(BY_ROWS), plain(best["ms"][batch]["p50"])
    return f"A static schedule, `{name}`, is as near by both errors in {ms} ms."


def _warning(content: Mapping[str, Any], pair: Pair) -> str:
    """A distance below the teacher's is a reason to look again, here too."""
    if pair.ours["name"] not in better_than_teacher(content):
        return ""
    return (
        "A distance below the teacher's is a reason to be suspicious, not a success: see its page."
    )


def _rows_of(content: Mapping[str, Any], pair: Pair, batch: str) -> list[Sequence[str]]:
    setting = pair.ours["setting"]
    solver = SOLVERS.get(setting.get("solver", ""), setting.get("solver", ""))
    steps, name = f"{setting['num_steps']} steps of {solver}", content["dataset"]
    teacher = (
        f"{name}, teacher, {steps}", _distance(pair.teacher_fd, None),
        _ms(pair.teacher, batch, None), plain(pair.teacher["gflops"]),
        _parameters(content, ["teacher"]),
    )  # fmt: skip
    share = setting.get("budget")
    budget = "the same steps" + (f", budget {share:.2f}" if share else "")
    saved = pair.ours["gflops"] / pair.teacher["gflops"] - 1
    models = ["student", "teacher"] if has_relay(content) else ["student"]
    ours = (
        f"{name}, adaptive student, {budget}", _distance(pair.ours_fd, pair.fd_ratio),
        _ms(pair.ours, batch, pair.saved),
        f"{plain(pair.ours['gflops'])} ({100 * saved:+.0f} %)", _parameters(content, models),
    )  # fmt: skip
    return [teacher, ours]


def has_relay(content: Mapping[str, Any]) -> bool:
    """Whether the student hands its last steps over to the teacher, so that both are loaded."""
    return any(row["setting"].get("relay") for row in content["rows"])


def _distance(found: Mapping[str, Any] | None, ratio: float | None) -> str:
    if not found:
        return f"{NONE} (too few pictures)"
    change = f", {100 * (ratio - 1):+.1f} %" if ratio is not None else ""
    return f"fd_lite0 {interval(found)}{change}, n = {found['n']:,}"


def _ms(row: Mapping[str, Any], batch: str, saved: Mapping[str, Any] | None) -> str:
    ms = row["ms"][batch]
    if saved is None:
        return f"{plain(ms['p50'])} ms (n = {ms['n']})"
    low, high = sorted((-100 * saved["low"], -100 * saved["high"]))
    change = f"{-100 * saved['value']:+.0f} %, {low:+.0f} to {high:+.0f}"
    return f"{plain(ms['p50'])} ms ({change})"


def _parameters(content: Mapping[str, Any], names: Sequence[str]) -> str:
    """Of all networks that are loaded."""
    models = content.get("models") or {}
    if not all(name in models for name in names):
        return NONE
    total = sum(models[name]["parameters"] for name in names)
    both = f" ({' and '.join(names)})" if len(names) > 1 else ""
    return f"{total / 1e6:.2f} M{both}"
