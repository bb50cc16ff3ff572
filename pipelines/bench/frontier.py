"""`nitrogen bench frontier`: every method on the same seeds, in one run, resumable.

Quality comes first, row by row, and is kept by key; then all rows are timed together in rounds. A
second run finds what the first one left, also after kill -9.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nitrogen.pipelines.bench.ceilings import TIERS
from nitrogen.pipelines.bench.charged import charged
from nitrogen.pipelines.bench.conditions import where
from nitrogen.pipelines.bench.contenders import at_full_width, contenders, controls_of, guided
from nitrogen.pipelines.bench.contest import Contest
from nitrogen.pipelines.bench.controls import MOVES, Trace
from nitrogen.pipelines.bench.figures import Measured, Resamples
from nitrogen.pipelines.bench.forecast import ORACLE_FORWARDS, Say, picture_flops
from nitrogen.pipelines.bench.frontier_config import FORMAT, FrontierConfig
from nitrogen.pipelines.bench.headline_rows import headline, teachers_of
from nitrogen.pipelines.bench.kept_figures import calibration, exits, expected
from nitrogen.pipelines.bench.kept_tuning import KeptTuning
from nitrogen.pipelines.bench.kept_tuning import expected as expected_tuning
from nitrogen.pipelines.bench.memory import peak_bytes
from nitrogen.pipelines.bench.methods import Method, runner
from nitrogen.pipelines.bench.models import Models
from nitrogen.pipelines.bench.quality import REFERENCE_SOLVER, REFERENCE_STEPS, Extract
from nitrogen.pipelines.bench.rounds import part_of, time_rounds
from nitrogen.pipelines.bench.row_store import Row, row_key
from nitrogen.pipelines.bench.summary import summarise
from nitrogen.pipelines.bench.tuning import served
from nitrogen.pipelines.bench.twins import by_rows, with_twins
from nitrogen.pipelines.report.provenance import commit, machine

TIER_ROWS = "rows of the tiers"
TIMED_BESIDE = 1.3  # timed rows over those that are known before the tuning


def run_frontier(
    config: FrontierConfig,
    models: Models,
    folder: Path,
    extract: Extract,
    say: Say,
    at_hand: bool = False,
) -> dict[str, Any]:
    """Everything of one data set, as JSON values. folder: where rows and rounds are kept.

    at_hand: only rows whose pictures an earlier run left, and ours; they are timed and summed up.
    """
    contest = Contest.prepare(config, models, folder, extract, say)
    tuning = KeptTuning(contest)
    plan(contest, with_twins(list(contenders(config, models))))
    known = wanted(contest, on_levels(tuning, contenders(config, models)), at_hand)
    contest.expect(known)
    tuned = tuning.tiers()
    ours = [method for method in tuned if method.group == "ours"]
    middle = next(method for method in ours if method.setting["tier"] == "middle")
    others = [served(m) for m in ours if not m.setting.get("served")]
    others += [*at_full_width(ours), *guided(config, middle)]
    for method in ours:
        others += traced_controls(contest, method)
    rest = wanted(contest, on_levels(tuning, [*tuned, *others]), at_hand)
    contest.forecast.drop(TIER_ROWS)
    contest.expect(rest)
    rows = {method: contest.row(method) for method in distinct([*known, *rest])}
    times = {batch: timed(contest, list(rows), folder, batch) for batch in config.batches}
    memory = {method: memory_of(contest, method, row) for method, row in rows.items()}
    return {
        "format": FORMAT,
        "dataset": models.name,
        "reference": f"teacher, {REFERENCE_SOLVER}, {REFERENCE_STEPS} steps",
        "hardware": machine(),
        "threads": torch.get_num_threads(),
        "step_overhead_gflops": tuning.overhead / 1e9,
        "step_line": tuning.line,
        "load_1m": round(os.getloadavg()[0], 2),
        "commit": commit(),
        "config": config.model_dump(mode="json"),
        "at_hand": at_hand,
        "rows": [shown(contest, m, rows[m], times) | {"memory_mib": memory[m]} for m in rows],
        "headline": [] if at_hand else headline(contest, [*ours, *teachers_of(ours, list(rows))]),
        "forward_passes_saved": exits(contest, tuning.drawn, at_hand),
        "calibration": calibration(contest, at_hand),
        "summary": {
            str(batch): summarise(*measured(rows, contest, ms)) for batch, ms in times.items()
        },
    }  # fmt: skip


def on_levels(tuning: KeptTuning, methods: Iterable[Method]) -> list[Method]:
    """The methods on the noise levels that were chosen for them, each with its twin after it."""
    return with_twins([tuning.spacings.of(m, tuning.contest.models) for m in methods])


def wanted(contest: Contest, methods: Sequence[Method], at_hand: bool) -> list[Method]:
    """All of them, or those whose pictures, or their twin's, are in the store, and ours."""
    if not at_hand:
        return list(methods)

    def found(method: Method) -> bool:
        twin = by_rows(method)
        return any(contest.store.has(contest.key(one)) for one in (method, twin) if one)

    return [m for m in methods if m.setting.get("tier") or found(m)]


def timed(
    contest: Contest, methods: Sequence[Method], folder: Path, batch: int
) -> dict[str, np.ndarray]:
    """ms a picture of each timed row, [rounds], by the row's key."""
    chosen = {contest.key(m): runner(m, contest.models) for m in methods if m.timed}
    facts = row_key(where(), {})
    a_round = timing_work(contest, methods, batch) / contest.config.rounds
    name = timing_name(batch)

    def on_round(done: int, total: int, taken_s: float) -> None:
        contest.forecast.part(name, (total - done) * a_round, taken_s)
        contest.say(f"batch {batch}: round {done} of {total}, {len(chosen)} rows")

    contest.say(f"{name}, {len(chosen)} rows")
    taken = time_rounds(
        folder / f"rounds-{facts}.jsonl", chosen, contest.drawn, batch=batch,
        rounds=contest.config.rounds, on_round=on_round,
    )  # fmt: skip
    contest.forecast.drop(name)
    return taken


def plan(contest: Contest, known: Sequence[Method]) -> None:
    """Tells the forecast all that is to come, as far as it is known before the tuning."""
    config, full = contest.config, float(contest.models.cost.full_flops)
    contest.expect(known)
    forwards = sum(TIERS.values())
    moved = len(MOVES) * config.num_controls
    asked = ORACLE_FORWARDS * len(TIERS) * float(np.mean(config.tune_steps)) * config.num_controls
    # Tuned, as served, and static; student and teacher at full width at the same steps; then the
    # controls and what the oracle asks of the teacher.
    wide = 2 * len(TIERS) * float(np.mean(config.tune_steps))
    rows = len(contest.drawn) * (3 * forwards + wide) + moved * forwards + asked
    contest.forecast.expect({TIER_ROWS: rows * full} | expected(contest) | expected_tuning(contest))
    for batch in config.batches:
        work = timing_work(contest, known, batch) * TIMED_BESIDE
        contest.forecast.expect({timing_name(batch): work})
    contest.say(f"{len(known)} rows and those of {len(TIERS)} tiers; rows at hand are not repeated")


def timing_work(contest: Contest, methods: Sequence[Method], batch: int) -> float:
    """FLOPs of all rounds at one batch size, a single picture before each call included."""
    one = sum(picture_flops(m, contest.models) for m in methods if m.timed)
    return contest.config.rounds * one * (batch * slowness(batch) + slowness(1))


def slowness(batch: int) -> float:
    """Time of a FLOP over that in a batch of 64, mean of both kinds of operators: about 4.5 for a
    single picture of `small` at 32 px and 1.8 for 8."""
    return float(1 + 3.5 / batch**0.7)


def timing_name(batch: int) -> str:
    return f"timing at batch {batch}"


def traced_controls(contest: Contest, ours: Method) -> list[Method]:
    """The controls of a row of ours, which play the plans that it made."""
    row, seeds = contest.row(ours), contest.seeds_of(ours).seeds
    return list(controls_of(ours, Trace(tuple(seeds), row.arrays["widths"])))


def memory_of(contest: Contest, method: Method, row: Row) -> float | None:
    """MiB that one call at the largest batch adds at its peak; kept beside the row."""
    if not method.timed:
        return None
    batch = max(contest.config.batches)
    # Another machine's allocator, or other kernels, take other memory.
    key = row_key({"peak": row.key, "batch": batch}, where())
    found = contest.store.get(key)
    if found is None:
        run, part = runner(method, contest.models), part_of(contest.drawn, 0, batch)
        peak = peak_bytes(partial(run, *part))
        found = contest.store.put(Row(key, {"mib": peak / 2**20 if peak is not None else None}, {}))
    return found.values["mib"]


def shown(
    contest: Contest, method: Method, row: Row, times: dict[int, dict[str, np.ndarray]]
) -> dict[str, Any]:
    """The row as it stands in the file."""
    key = contest.key(method)
    ms = {batch: by_key.get(key) for batch, by_key in times.items()}
    return row.values | {
        "operators": method.operators,
        "ms": {
            str(batch): None if taken is None else {
                "p50": float(np.percentile(taken, 50)), "p95": float(np.percentile(taken, 95)),
                "n": len(taken),
            }
            for batch, taken in ms.items()
        },
    }  # fmt: skip


def measured(
    rows: dict[Method, Row], contest: Contest, ms: dict[str, np.ndarray]
) -> tuple[list[Measured], Resamples]:
    """The unguided rows for the summary, and one set of resamples for all of them."""
    config = contest.config
    found = [
        Measured(
            name=method.name, group=method.group, mse=row.arrays["mse"],
            kid=row.values["kid"]["value"], kid_influence=row.arrays["kid_influence"],
            ms=ms.get(contest.key(method)), flops=row.values["gflops"] * 1e9,
            operators=method.operators,
            num_steps=int(method.setting["num_steps"]),
            fd=(row.values["fd_lite0"] or {}).get("value"), setting=dict(method.setting),
        )
        for method, row in rows.items()
        if method.guidance == 1
    ]  # fmt: skip
    drawn = len(contest.drawn), config.rounds, config.resamples, config.seed
    return charged(found), Resamples.draw(*drawn)


def distinct(methods: Sequence[Method]) -> list[Method]:
    """The methods in order, each once: settings may coincide."""
    seen: dict[str, Method] = {}
    for method in methods:
        seen.setdefault(row_key(method.described(), {}), method)
    return list(seen.values())
