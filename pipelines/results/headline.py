"""The headline and the article's own table, derived from a benchmark file: won or lost, plainly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nitrogen.pipelines.bench.figures import MAX_FD_RATIO
from nitrogen.pipelines.bench.row_names import SOLVERS
from nitrogen.pipelines.results.files import BenchFile
from nitrogen.pipelines.results.markdown import NONE, count, interval, listed, plain, table
from nitrogen.pipelines.results.pairing import Pair, best_pair, is_teacher
from nitrogen.pipelines.results.targets import MIN_FRECHET, MIN_ROUNDS, MIN_SEEDS, timed

FASTER, SLOWER, WORSE, OPEN = "faster", "slower", "worse", "open"
ERRORS = {"mse": "same-seed error", "kid": "KID"}
ARTICLE = (
    ("the article, full (ImageNet 256 px, A100)", "FID 3.7", "85 ms", "95", "1.8 B"),
    ("the article, adaptive", "FID 3.9", "55 ms (-35 %)", "62 (-35 %)", "1.8 B"),
)


def headline(file: BenchFile, batch: str) -> str:
    """One sentence: ours against the best of teacher, thin models and caches, for each error."""
    content = file.content
    tiers = content["summary"][batch]["speedup_at_equal_quality"]
    parts = [
        f"{_won({tier: state(found[which]) for tier, found in tiers.items()})} at equal {error}: "
        + ", ".join(_times(found[which]) for found in tiers.values())
        for which, error in ERRORS.items()
    ]
    where = f"On {content['dataset']}, batch {batch},"
    if reason := undecided(file, batch):
        return f"{where} nothing is decided: {reason}."
    return (
        f"{where} against the best of {listed(_others(content))}, "
        f"the adaptive student {', and '.join(parts)} (times as fast at the "
        f"{listed(list(tiers))} budget, 95 % intervals, n = {_seeds(content):,} seeds)."
    )


def undecided(file: BenchFile, batch: str) -> str | None:
    """Why the speedups of this batch size decide nothing; None where they do."""
    content = file.content
    if file.quick:
        return "a quick run"
    if content.get("at_hand"):
        return "only rows that were at hand"
    n = _seeds(content)
    if n < MIN_SEEDS:
        return f"n = {n} seeds are too few"
    tiers = content["summary"][batch]["speedup_at_equal_quality"]
    figures = [timed(found[which], content) for found in tiers.values() for which in ERRORS]
    rounds = min((one.get("rounds", MIN_ROUNDS) for one in figures if one), default=MIN_ROUNDS)
    return f"{rounds} rounds of timing are too few" if rounds < MIN_ROUNDS else None


def _seeds(content: Mapping[str, Any]) -> int:
    return max((row["n"] for row in content["rows"]), default=0)


def _others(content: Mapping[str, Any]) -> list[str]:
    """What ours is compared with, of which there are rows."""
    groups = {row["group"] for row in content["rows"]}
    names = {"teacher": "the full model with fewer steps", "thin": "thin models", "cache": "caches"}
    return [name for group, name in names.items() if group in groups]


def _won(states: Mapping[str, str]) -> str:
    """ "wins at every budget", "wins at the low budget and loses at the high budget"."""
    words = {
        FASTER: "wins", SLOWER: "loses", WORSE: "is worse than even the fastest rival",
        OPEN: "is not shown to win or lose",
    }  # fmt: skip
    if len(set(states.values())) == 1:
        return f"{words[next(iter(states.values()))]} at every budget"
    parts = []
    for kind, word in words.items():
        if some := [tier for tier, found in states.items() if found == kind]:
            parts.append(f"{word} at the {listed(some)} budget")
    return listed(parts)


def state(one: Mapping[str, Any]) -> str:
    """Which side of 1 the whole interval lies on; WORSE where even the fastest rival is better."""
    if one.get("slower_than_all"):
        return WORSE
    if one["value"] is None or one["low"] <= 1 <= one["high"]:
        return OPEN
    return FASTER if one["low"] > 1 else SLOWER


def _times(one: Mapping[str, Any]) -> str:
    if one.get("slower_than_all"):
        return "none"
    return interval(one) if one["value"] is not None else f"not defined ({one['reason']})"


def speedup_table(files: Sequence[BenchFile]) -> str:
    """How many times as fast ours is at equal quality, of every data set and batch size; bold where
    it wins."""
    tiers = list(dict.fromkeys(t for file in files for by in _speedups(file).values() for t in by))
    columns = [(which, tier) for which in ERRORS for tier in tiers]
    rows = []
    for file in files:
        for batch, by in _speedups(file).items():
            reason = undecided(file, batch)
            cells = [
                _won_bold(by.get(tier, {}).get(which), decided=reason is None)
                for which, tier in columns
            ]
            seen = reason or count(_seeds(file.content))
            rows.append((file.content["dataset"], batch, seen, *cells))
    headers = [f"equal {ERRORS[which]}, {tier}" for which, tier in columns]
    return table(("times as fast (95 %)", "batch", "n", *headers), rows)


def _speedups(file: BenchFile) -> dict[str, Mapping[str, Any]]:
    """By batch size and tier."""
    summary = file.content["summary"]
    return {batch: figures["speedup_at_equal_quality"] for batch, figures in summary.items()}


def _won_bold(one: Mapping[str, Any] | None, decided: bool) -> str:
    if one is None:
        return NONE
    return f"**{_times(one)}**" if decided and state(one) == FASTER else _times(one)


def article_table(files: Sequence[BenchFile], batch: str) -> str:
    """The article's two rows, and ours below them: teacher and adaptive student at equal steps."""
    rows: list[Sequence[str]] = list(ARTICLE)
    for file in files:
        pair = best_pair(file.content, batch)
        if pair is not None:
            rows += _rows_of(file.content, pair, batch)
    headers = ("", "distance", f"latency, batch {batch}", "GFLOPs", "parameters")
    return table(headers, rows)


def article_note(files: Sequence[BenchFile], batch: str) -> str:
    """What the table's numbers of ours are, and what they are not."""
    found = [(file, best_pair(file.content, batch)) for file in files]
    lines = [
        "fd_lite0 is a Frechet distance of EfficientNet-Lite0 features, **not FID**: only changes "
        "may be set beside the article's. Ours are medians of a picture, measured on "
        + "; ".join(sorted({file.machine for file in files}))
        + "."
    ]
    for file, pair in found:
        if pair is not None:
            made = "; ".join(filter(None, [f"commit {file.source['commit']}", file.load]))
            name = f"{file.content['dataset']} ({made})"
            lines.append(f"{name}: {_remark(pair)}{_beside(file.content)}")
    return " ".join(lines)


def _beside(content: Mapping[str, Any]) -> str:
    """Where nothing was saved, and how near the teacher itself is at how many steps: to be near to
    it says little where it is far off."""
    text, saving = "", content.get("saving") or {}
    if none := [steps for steps, name in saving.items() if name is None]:
        text = f" At {listed(none)} steps no budget was as near as the teacher on validation."
    far = {
        row["setting"]["num_steps"]: row["fd_lite0"]["value"]
        for row in content.get("headline") or () if is_teacher(row) and row.get("fd_lite0")
    }  # fmt: skip
    if len(far) > 1:
        told = listed([f"{far[steps]:,.0f} at {steps} steps" for steps in sorted(far)])
        text += f" The teacher's own distance is {told}"
        least = min(far, key=lambda steps: far[steps])
        text += ": few steps ask little." if least == max(far) else f", least at {least} steps."
    return text


def _remark(pair: Pair) -> str:
    saved = interval(pair.saved, 100, " %")
    if pair.fd_ratio is None:
        return (
            f"shown is {pair.ours['name']}, which saves {saved} of the time at equal steps; no "
            "distance: too few pictures."
        )
    found = f"the row is the one that saves most time ({saved} against the teacher at equal steps)"
    if pair.within:
        found += f" within {MAX_FD_RATIO:g} of the teacher's distance"
    else:
        found = f"no row stays within {MAX_FD_RATIO:g} of the teacher's distance; shown is the "
        found += f"nearest one, which saves {saved} of the time"
    few = "" if pair.enough else f"; below {MIN_FRECHET:,} pictures no distance is a headline"
    return f"{found}{few}."


def _rows_of(content: Mapping[str, Any], pair: Pair, batch: str) -> list[Sequence[str]]:
    setting, models = pair.ours["setting"], content.get("models") or {}
    solver = SOLVERS.get(setting.get("solver", ""), setting.get("solver", ""))
    steps, name = f"{setting['num_steps']} steps of {solver}", content["dataset"]
    teacher = (
        f"{name}, teacher, {steps}", _distance(pair.teacher_fd, None),
        _ms(pair.teacher, batch, None), plain(pair.teacher["gflops"]),
        _parameters(models.get("teacher")),
    )  # fmt: skip
    share = setting.get("budget")
    budget = "the same steps" + (f", budget {share:.2f}" if share else "")
    saved = pair.ours["gflops"] / pair.teacher["gflops"] - 1
    ours = (
        f"{name}, adaptive student, {budget}", _distance(pair.ours_fd, pair.fd_ratio),
        _ms(pair.ours, batch, pair.saved),
        f"{plain(pair.ours['gflops'])} ({100 * saved:+.0f} %)", _parameters(models.get("student")),
    )  # fmt: skip
    return [teacher, ours]


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


def _parameters(model: Mapping[str, Any] | None) -> str:
    return f"{model['parameters'] / 1e6:.2f} M" if model else NONE
