"""Who wins at equal quality, plainly: against all others, and against schedules without a choice of
regions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nitrogen.pipelines.results.files import BenchFile
from nitrogen.pipelines.results.markdown import NONE, interval, listed, table
from nitrogen.pipelines.results.pairing import full_width_tiers
from nitrogen.pipelines.results.targets import MIN_ROUNDS, MIN_SEEDS, timed

FASTER, SLOWER, WORSE, OPEN = "faster", "slower", "worse", "open"
ERRORS = {"mse": "same-seed error", "kid": "KID"}
OTHERS, STATIC = "speedup_at_equal_quality", "speedup_over_static"
FULL_WIDTH = "†"
_NOTE = (
    "Times as fast as the best mix of the others at the error that ours has at that budget. All "
    "others: the full model with fewer steps, thin models where there are any, and caches. Its own "
    "schedules: the same network, each step at one width everywhere. Bold: the whole interval is "
    "above 1. None: ours is worse than even the fastest of them. †: a budget of nearly all of "
    "the compute, so the full width and not the choice of regions is what is compared."
)


def headline(file: BenchFile, batch: str) -> str:
    """Ours against the best of teacher, thin models and caches, and against its own schedules."""
    content = file.content
    where = f"On {content['dataset']}, batch {batch},"
    if reason := undecided(file, batch):
        return f"{where} nothing is decided: {reason}."
    figures = content["summary"][batch]
    rivals = {
        OTHERS: f"against {listed(_others(content))}",
        STATIC: "against its own static schedules, the same network without a choice of regions,",
    }
    lines = [f"- {rival} {_verdict(figures[name])}" for name, rival in rivals.items()]
    if full := full_width_tiers(content, batch):
        lines.append(
            f"- buys nearly all of the compute at the {listed(full)} budget: what wins or loses "
            "there is its full width, not the choice of regions"
        )
    n = _seeds(content)
    head = f"{where} at equal quality, the adaptive student (n = {n:,} seeds)"
    return "\n".join([head, "", *(f"{line};" for line in lines[:-1]), f"{lines[-1]}."])


def _verdict(tiers: Mapping[str, Mapping[str, Any]]) -> str:
    """For each error, who wins at which budget."""
    parts = [
        f"{_won({tier: state(found[which]) for tier, found in tiers.items()})} at equal {error}"
        for which, error in ERRORS.items()
    ]
    return ", and ".join(parts)


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
    tiers = content["summary"][batch][OTHERS]
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


def speedup_table(files: Sequence[BenchFile], batch: str) -> str:
    """How many times as fast ours is at equal quality, of every data set; bold where it wins."""
    here = [file for file in files if batch in file.content["summary"]]
    tiers = list(dict.fromkeys(t for f in here for t in f.content["summary"][batch][OTHERS]))
    rows = [row for file in here for row in _speedups(file, batch, tiers)]
    headers = (f"times as fast, batch {batch} (95 %)", "at equal", "than", *tiers)
    return table(headers, rows)


def _speedups(file: BenchFile, batch: str, tiers: Sequence[str]) -> Iterator[Sequence[str]]:
    content = file.content
    reason, full = undecided(file, batch), full_width_tiers(content, batch)
    name = f"{content['dataset']}, n = {_seeds(content):,}" + (f", {reason}" if reason else "")
    for which, error in ERRORS.items():
        for figure, rival in ((OTHERS, "all others"), (STATIC, "its own schedules")):
            found = content["summary"][batch][figure]
            cells = [
                _cell(found.get(tier, {}).get(which), reason is None)
                + (FULL_WIDTH if tier in full else "")
                for tier in tiers
            ]
            yield name, error, rival, *cells


def _cell(one: Mapping[str, Any] | None, decided: bool) -> str:
    if one is None:
        return NONE
    if one.get("slower_than_all"):
        return "none"
    if one["value"] is None:
        return f"not defined ({one['reason']})"
    return f"**{interval(one)}**" if decided and state(one) == FASTER else interval(one)


def speedup_note(files: Sequence[BenchFile]) -> str:
    """What the table's columns are, and what they sum up to."""
    return f"{_NOTE} {over_static(files)}"


def over_static(files: Sequence[BenchFile]) -> str:
    """How often choosing regions beats the static schedules of the same network, over all data
    sets, batch sizes, budgets and both errors."""
    states = [
        state(one)
        for file in files for batch, figures in file.content["summary"].items()
        if undecided(file, batch) is None
        for by in figures[STATIC].values() for one in by.values()
    ]  # fmt: skip
    won, lost = states.count(FASTER), states.count(SLOWER) + states.count(WORSE)
    return (
        f"Against static schedules of the same network, over all data sets, batch sizes, budgets "
        f"and both errors, choosing regions wins {won} of {len(states)} comparisons, loses {lost} "
        f"and leaves {states.count(OPEN)} open."
    )
