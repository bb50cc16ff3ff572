"""The targets of the benchmark beside what its files hold: reached, missed, or nothing decided."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from nitrogen.model.config import NUM_WIDTHS
from nitrogen.pipelines.bench.figures import MAX_FD_RATIO
from nitrogen.pipelines.results import targets
from nitrogen.pipelines.results.files import BenchFile
from nitrogen.pipelines.results.markdown import count, interval, plain, table
from nitrogen.pipelines.results.pairing import Pair, full_width_tiers, pairs, tier_pairs
from nitrogen.pipelines.results.targets import Verdict, judge, timed

ERROR_NAMES = {"mse": "MSE", "kid": "KID"}


def verdicts(file: BenchFile) -> list[Verdict]:
    """Every target that this kind of file can answer."""
    of = {"frontier": _frontier, "attack": _attack, "scaling": _scaling}.get(file.kind)
    found = list(of(file.content, file.quick)) if of else []
    if not file.content.get("at_hand"):
        return found
    return [v if v.reached is None else replace(v, outcome=targets.AT_HAND) for v in found]


def verdict_table(found: Sequence[Verdict]) -> str:
    rows = [(v.figure, v.target, v.measured, count(v.n), v.outcome) for v in found]
    return table(("figure", "to reach", "measured (95 %)", "n", "outcome"), rows)


def tally(found: Iterable[Verdict]) -> str:
    """ "5 of 7 targets are reached, 1 is missed, 1 is not decided"; of an ablation none is set."""
    states = [verdict.reached for verdict in found]
    if not states:
        return "no target is set"
    parts = [f"{states.count(True)} of {len(states)} targets are reached"]
    for state, word in ((False, "missed"), (None, "not decided")):
        if num := states.count(state):
            parts.append(f"{num} {'is' if num == 1 else 'are'} {word}")
    return ", ".join(parts)


def _frontier(content: Mapping[str, Any], quick: bool) -> Iterator[Verdict]:
    yield from _full_width(content, quick)
    missing = absent(content)
    for batch, figures in content["summary"].items():
        full = full_width_tiers(content, batch)
        for tier, target in targets.SPEEDUPS.items():
            for which, one in figures["speedup_at_equal_quality"].get(tier, {}).items():
                name = f"speedup at equal {ERROR_NAMES.get(which, which)}, {tier} budget"
                one = timed(one, content)
                found = judge(f"{name}, batch {batch}", target, one, quick=quick)
                yield _beside(found, missing, tier in full)
        for tier, errors in figures["speedup_over_static"].items():
            for which, one in errors.items():
                name = f"speedup over static at equal {ERROR_NAMES.get(which, which)}, {tier}"
                title = f"{name} budget, batch {batch}"
                yield judge(title, targets.OVER_STATIC, timed(one, content), quick=quick)
        if "saving" in content:
            yield from _savings(content, batch, quick)
        else:  # an older file
            for tier, pair in tier_pairs(content, batch).items():
                yield _latency(pair, f"{tier} budget", batch, quick)
    yield _passes(content["forward_passes_saved"], quick)
    yield from _where(content, quick)
    batch = targets.CONVERSION_BATCH
    if batch in content["summary"]:
        latency = content["summary"][batch]["latency"]["rows"]
        for name in content["summary"][batch]["tiers"].values():
            figure = latency.get(name, {}).get("conversion")
            title = f"conversion of {name}, batch {batch}"
            yield judge(title, targets.CONVERSION, figure, quick=quick)
    for batch, figures in content["summary"].items():
        for steps, one in figures["predictor_share"].items():
            title = f"predictor's share of a full step, {steps} steps, batch {batch}"
            yield judge(title, targets.PREDICTOR, one, quick=quick)


def _full_width(content: Mapping[str, Any], quick: bool) -> Iterator[Verdict]:
    """Of errors alone, so the same at every batch size; at the steps that the tiers run, and all
    others that have rows."""
    figures = next(iter(content["summary"].values()))
    found, tiers = figures.get("full_width", {}), set(figures["tiers"].values())
    steps = {r["setting"]["num_steps"] for r in content["rows"] if r["name"] in tiers}
    for num in sorted(steps | set(map(int, found))):
        errors = found.get(str(num), {})
        late = " and its relay" if relayed(content, num) else ""
        for which, name in ERROR_NAMES.items():
            title = f"{name} of the student at full width{late} over the teacher's, {num} steps"
            yield judge(title, targets.NOT_INFERIOR, errors.get(which), quick=quick)


def relayed(content: Mapping[str, Any], num_steps: int) -> bool:
    """Whether the teacher takes the last of so many steps of the student at full width."""
    settings = [row["setting"] for row in content["rows"]]
    return any(s.get("relay") and s.get("widths") == [NUM_WIDTHS] * num_steps for s in settings)


def absent(content: Mapping[str, Any]) -> list[str]:
    """What ours should be compared with and is not, for there are no rows of it."""
    groups = {row["group"] for row in content["rows"]}
    names = {"teacher": "the teacher", "thin": "thin models", "cache": "caches"}
    return [name for group, name in names.items() if group not in groups]


def _beside(verdict: Verdict, missing: Sequence[str], full: bool) -> Verdict:
    """The verdict, which says what it was reached or missed without, and whether nothing is chosen
    there."""
    if verdict.reached is None:
        return verdict
    notes = [f"without {' and '.join(missing)}"] * bool(missing) + ["at full width"] * full
    return replace(verdict, outcome=", ".join([verdict.outcome, *notes]))


def _savings(content: Mapping[str, Any], batch: str, quick: bool) -> Iterator[Verdict]:
    """At each number of steps, the row that was chosen for what it saves there."""
    found = {pair.ours["name"]: pair for pair in pairs(content, batch)}
    for steps, name in content["saving"].items():
        if name is not None:
            yield _latency(found.get(name), f"{steps} steps", batch, quick)
            continue
        title = f"latency saved at equal steps, {steps} steps, batch {batch}"
        missed = "missed: on validation no budget is as near as the teacher and cheaper"
        outcome = targets.QUICK if quick else missed
        yield Verdict(title, str(targets.LATENCY_SAVED), "-", None, outcome)


def _latency(pair: Pair | None, which: str, batch: str, quick: bool) -> Verdict:
    """Time that a row saves at equal steps, where it keeps nearly the teacher's distance."""
    target, bound = targets.LATENCY_SAVED, f"{MAX_FD_RATIO:g} of the teacher's fd_lite0"
    title = f"latency saved at equal steps within {bound}, {which}, batch {batch}"
    if pair is None or pair.fd_ratio is None or pair.ours_fd is None:
        reason = {"value": None, "reason": "no fd_lite0: too few pictures"}
        return judge(title, target, reason if pair else None, quick=quick)
    found = judge(title, target, pair.saved, quick=quick)
    ratio = interval(pair.fd_over) if pair.fd_over else f"{pair.fd_ratio:.3f} without an interval"
    shown = f"{found.measured} at {ratio} (n = {pair.ours_fd['n']:,})"
    budget = pair.ours["setting"].get("budget")
    if budget and pair.teacher_fd:
        # Its own distance too, for where the teacher is bad nearness to it asks little.
        shown = f"{shown}, budget {budget:g}; the teacher's {plain(pair.teacher_fd['value'])}"
    return replace(found, measured=shown, outcome=_with_distance(found, pair))


def _with_distance(found: Verdict, pair: Pair) -> str:
    """The outcome, which a distance changes where both are of enough to decide something."""
    if found.reached is None:
        return found.outcome
    if not pair.enough:
        few = f"decides nothing: fd_lite0 of fewer than {targets.MIN_FRECHET:,} pictures"
        return few if found.reached else found.outcome
    if pair.within or pair.fd_ratio is None:
        return found.outcome
    far = pair.fd_ratio > MAX_FD_RATIO
    reach = pair.fd_over["high"] if pair.fd_over and not far else pair.fd_ratio
    return f"missed: its distance {'is' if far else 'may be'} {reach:.3f} of the teacher's"


def _passes(saved: Mapping[str, Any], quick: bool) -> Verdict:
    whose = f", of the {saved['denoiser']}" if saved.get("denoiser") else ""
    title, target = f"forward passes saved by exit alone{whose}", targets.PASSES_SAVED
    if saved.get("threshold") is None:
        return judge(title, target, {"value": None, "reason": saved.get("reason")}, quick=quick)
    found = judge(title, target, saved["regions"], quick=quick)
    if found.reached and not saved.get("holds", True):
        below = "missed: PSNR to no exit may be below 35 dB on the report split"
        return Verdict(found.figure, found.target, found.measured, found.n, below)
    return found


def _where(content: Mapping[str, Any], quick: bool) -> Iterator[Verdict]:
    """Adaptivity gain: of errors alone, so the same at every batch size. A budget of nearly
    everything chooses nothing, whatever its share of an oracle's next to nothing is."""
    batch, figures = next(iter(content["summary"].items()))
    full = [figures["tiers"][tier] for tier in full_width_tiers(content, batch)]
    for how, target in targets.GAINS.items():
        for row, gains in figures["adaptivity_gain"].items():
            title = f"adaptivity gain over {how} positions, {row}"
            found = judge(title, target, gains.get(how), quick=quick)
            if row in full and found.reached is not None:
                found = replace(found, outcome=targets.FULL_WIDTH)
            yield found


def _attack(content: Mapping[str, Any], quick: bool) -> Iterator[Verdict]:
    target = "never above the declared budget"
    for kind in ("budget", "relay"):
        limit = content.get(kind, {"attacks": {}})
        for name, one in limit["attacks"].items():
            measured = (
                f"worst {plain(one['max_gflops'])} of {plain(limit['ceiling_gflops'])} GFLOPs"
            )
            outcome = "reached" if one["never_above_ceiling"] else "missed"
            if outcome == "reached" and quick:
                outcome = targets.QUICK
            elif outcome == "reached" and name == "seeds" and one["n"] < targets.ATTACK_SEEDS:
                outcome = f"decides nothing: fewer than {targets.ATTACK_SEEDS:,} seeds"
            title = f"compute under attack: {name}" + (" of a relay" * (kind == "relay"))
            yield Verdict(title, target, measured, one["n"], outcome)


def _scaling(content: Mapping[str, Any], quick: bool) -> Iterator[Verdict]:
    grown = content["per_pixel"]
    title = f"time per pixel at {grown['to']} px over {grown['from']} px, adaptive"
    asked = (grown["from"], grown["to"]) == (128, 1024)
    of_repeats = grown.get("intervals", {}).get("adaptive")  # not in older files
    one = (of_repeats or {"value": grown["adaptive"]}) if asked else None
    found = judge(title, targets.PER_PIXEL, one, quick=quick)
    yield found if asked else Verdict(title, found.target, plain(grown["adaptive"]), None,
                                      "decides nothing: other sizes")  # fmt: skip
    huge = content.get("huge")
    if huge and "size" in huge:
        title = f"one picture of {huge['size']:,} px"
        if "skipped" in huge:
            yield Verdict(title, "within 16 GB", "-", None, f"not measured: {huge['skipped']}")
            return
        inside = huge.get("within_16_gb", huge.get("within_16_gib"))  # so older files name it
        outcome = "not measured" if inside is None else "reached" if inside else "missed"
        memory = plain(huge.get("process_mib", huge["peak_mib"]))
        shown = f"{plain(huge['ms'] / 1e3)} s, process {memory} MiB"
        yield Verdict(title, "within 16 GB", shown, 1, targets.QUICK if quick else outcome)
