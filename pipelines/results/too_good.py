"""Figures that are more likely a mistake than a success, and what speaks for which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nitrogen.pipelines.bench.headline_rows import HEADLINE
from nitrogen.pipelines.results.markdown import interval, listed
from nitrogen.pipelines.results.pairing import Pair, is_teacher, saving_pairs, tier_pairs


def too_good(content: Mapping[str, Any]) -> Iterator[str]:
    """A distance that is better than the teacher's at as many steps."""
    found = better_than_teacher(content)
    if not found:
        return
    yield (
        f"Check twice: fd_lite0 of {_names(found)} lies below the teacher's at as many steps. "
        "A student of the teacher's long run may be nearer to that than the teacher with few steps "
        f"is; below the long run itself it has no reason to be. {_beside_long_run(content, found)}"
    )


def better_than_teacher(content: Mapping[str, Any]) -> dict[str, Pair]:
    """By name, the rows of tiers and of what is saved that are shown to be nearer to the data."""
    batches = content["summary"]
    pairs = [p for batch in batches for p in tier_pairs(content, batch).values()]
    pairs += [p for batch in batches for p in saving_pairs(content, batch)]
    return {pair.ours["name"]: pair for pair in pairs if pair and pair.better}


def _beside_long_run(content: Mapping[str, Any], found: Mapping[str, Pair]) -> str:
    """Which of them lie below the teacher's long run too: the reference's, paired, or in older
    files its longest row's, by the ends of both intervals."""
    if over := _over_reference(content, found):
        below = [name for name, one in over.items() if one["high"] < 1]
        told = listed([f"{interval(one)} of `{name}`" for name, one in over.items()])
        lie = "lies" if len(below) == 1 else "lie"
        return (
            f"{_names(below) if below else 'None'} {lie} below that of the 64-step reference, "
            f"which the student was to reach; over it, paired: {told}.{_teacher_too(content)}"
        )
    rows = [r for r in content.get("headline") or () if is_teacher(r) and r.get("fd_lite0")]
    longest = max(rows, key=lambda row: row["setting"]["num_steps"], default=None)
    most = max(pair.ours["setting"]["num_steps"] for pair in found.values())
    if longest is None or longest["setting"]["num_steps"] <= most:
        return "The file has no row of it to compare with."
    fd, steps = longest["fd_lite0"], longest["setting"]["num_steps"]
    below = [name for name, p in found.items() if p.ours_fd and p.ours_fd["high"] < fd["low"]]
    lie = "lie" if len(below) > 1 else "lies"
    text = f"{_names(below) if below else 'None'} {lie} below its longest row here too, "
    text += f"{interval(fd)} at {steps} steps, by the ends of both intervals."
    nearer = [
        f"`{name}`, {interval(p.ours_fd)}"
        for name, p in found.items()
        if name not in below and p.ours_fd and p.ours_fd["value"] < fd["value"]
    ]
    if nearer:
        text += f" By value {listed(nearer)} {'do' if len(nearer) > 1 else 'does'}."
    least = min(rows, key=lambda row: row["fd_lite0"]["value"])
    if below and least["fd_lite0"]["high"] < fd["low"]:
        own, at = interval(least["fd_lite0"]), least["setting"]["num_steps"]
        text += f" So does the teacher itself at {at}, {own}: this distance cannot tell."
    return text


def _over_reference(
    content: Mapping[str, Any], found: Mapping[str, Pair]
) -> dict[str, Mapping[str, Any]]:
    """By name, fd_lite0 over the reference's; empty in files without it."""
    rows = {row["name"]: row.get("fd_over_reference") for row in content.get("headline") or ()}
    over = {name: rows.get(HEADLINE + name) for name in found}
    return {name: one for name, one in over.items() if one}


def _teacher_too(content: Mapping[str, Any]) -> str:
    """Fewer steps of the teacher whose distance is below its own reference's: then that is no sign
    of a mistake."""
    rows = content.get("headline") or ()
    reference = next((row["fd_lite0"] for row in rows if row["group"] == "reference"), None)
    if reference is None:
        return ""
    nearer = [
        f"{row['fd_lite0']['value']:,.0f} at {row['setting']['num_steps']} steps"
        for row in rows
        if is_teacher(row) and row["fd_lite0"]["value"] < reference["value"]
    ]
    if not nearer:
        return ""
    own = f"{reference['value']:,.0f}"
    return f" By value so does the teacher itself: {listed(nearer)} for the reference's {own}."


def _names(rows: Iterable[str]) -> str:
    return listed([f"`{row}`" for row in rows])
