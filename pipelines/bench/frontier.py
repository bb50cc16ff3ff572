"""`nitrogen bench frontier`: every method on the same seeds, in one run, resumable.

Quality comes first, row by row, and is kept by key; then all rows are timed together in rounds. A
second run finds what the first one left, also after kill -9.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nitrogen.pipelines.bench.ceilings import LEAST, TIERS
from nitrogen.pipelines.bench.charged import charged
from nitrogen.pipelines.bench.conditions import where
from nitrogen.pipelines.bench.contenders import (
    at_full_width,
    contenders,
    controls_of,
    distinct,
    guided,
)
from nitrogen.pipelines.bench.contest import Contest
from nitrogen.pipelines.bench.controls import MOVES, Trace
from nitrogen.pipelines.bench.figures import Measured, Resamples
from nitrogen.pipelines.bench.forecast import ORACLE_FORWARDS, Say
from nitrogen.pipelines.bench.frontier_config import FORMAT, FrontierConfig
from nitrogen.pipelines.bench.frontier_times import (
    PAIRS,
    compared_in_pairs,
    expected_timing,
    timed,
)
from nitrogen.pipelines.bench.headline_rows import headline, teachers_of
from nitrogen.pipelines.bench.kept_figures import calibration, exits, expected, ranks_of_gains
from nitrogen.pipelines.bench.kept_tiers import KeptTiers
from nitrogen.pipelines.bench.kept_tuning import KeptTuning
from nitrogen.pipelines.bench.memory import peak_bytes
from nitrogen.pipelines.bench.methods import Method, runner
from nitrogen.pipelines.bench.models import Models
from nitrogen.pipelines.bench.quality import REFERENCE_SOLVER, REFERENCE_STEPS, Extract
from nitrogen.pipelines.bench.relays import relay_taken
from nitrogen.pipelines.bench.rounds import part_of
from nitrogen.pipelines.bench.row_store import Row, row_key
from nitrogen.pipelines.bench.settings import served
from nitrogen.pipelines.bench.summary import summarise
from nitrogen.pipelines.bench.tuning_forecast import expected as expected_tuning
from nitrogen.pipelines.bench.twins import by_rows, with_twins
from nitrogen.pipelines.report.provenance import commit, machine

TIER_ROWS = "rows of the tiers"


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
    tuned = KeptTiers(tuning).methods()
    ours = [method for method in tuned if method.group == "ours"]
    middle = next(method for method in ours if method.setting["tier"] == "middle")
    saving = tuning.saving()
    others = [served(m) for m in ours if not m.setting.get("served")]
    headlined = [*ours, *(method for method in saving.values() if method)]
    others += [*at_full_width(models, headlined), *guided(config, middle)]
    for method in ours:
        others += traced_controls(contest, method)
    rest = wanted(contest, on_levels(tuning, [*tuned, *headlined, *others]), at_hand)
    contest.forecast.drop(TIER_ROWS)
    contest.expect(rest)
    rows = {method: contest.row(method) for method in distinct([*known, *rest])}
    times = {batch: timed(contest, list(rows), folder, batch) for batch in config.batches}
    compared = compared_in_pairs(headlined, list(rows))
    again = {batch: timed(contest, compared, folder, batch, PAIRS) for batch in config.batches}
    loads = [load for taken in (*times.values(), *again.values()) for load in taken.loads]
    ms = {batch: taken.ms for batch, taken in times.items()}
    memory = {method: memory_of(contest, method, row) for method, row in rows.items()}
    return {
        "format": FORMAT,
        "dataset": models.name,
        "reference": f"teacher, {REFERENCE_SOLVER}, {REFERENCE_STEPS} steps",
        "hardware": machine(),
        "threads": torch.get_num_threads(),
        "tiers": TIERS,
        "tiers_from": LEAST,
        "saving": {str(steps): method and method.name for steps, method in saving.items()},
        "step_overhead_gflops": tuning.overhead / 1e9,
        "step_line": tuning.line,
        "timing_load_1m": {"median": float(np.median(loads)), "max": max(loads)} if loads else None,
        "commit": commit(),
        "config": config.model_dump(mode="json"),
        "at_hand": at_hand,
        "rows": [shown(contest, m, rows[m], ms) | {"memory_mib": memory[m]} for m in rows],
        "headline": [] if at_hand else headline(
            contest, [*headlined, *teachers_of(headlined, list(rows))]
        ),
        "forward_passes_saved": exits(contest, tuning.drawn, at_hand),
        "calibration": calibration(contest, at_hand),
        "gain_ranking": ranks_of_gains(contest, at_hand),
        "summary": {
            str(batch): summarise(*measured(rows, contest, taken, again[batch].ms))
            for batch, taken in ms.items()
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

    ours = ("tier", "saving")
    return [m for m in methods if any(m.setting.get(name) for name in ours) or found(m)]


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
    contest.forecast.expect(expected_timing(contest, known))
    contest.say(f"{len(known)} rows and those of {len(TIERS)} tiers; rows at hand are not repeated")


def traced_controls(contest: Contest, ours: Method) -> list[Method]:
    """The controls of a row of ours, which play the plans that it made."""
    row, seeds = contest.row(ours), contest.seeds_of(ours).seeds
    relay = relay_taken(contest.models, ours)
    return list(controls_of(ours, Trace(tuple(seeds), row.arrays["widths"]), relay))


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
    rows: dict[Method, Row], contest: Contest, ms: dict[str, np.ndarray],
    pair_ms: dict[str, np.ndarray],
) -> tuple[list[Measured], Resamples]:  # fmt: skip
    """The unguided rows for the summary, and one set of resamples for all of them."""
    config = contest.config
    found = [
        Measured(
            name=method.name, group=method.group, mse=row.arrays["mse"],
            kid=row.values["kid"]["value"], kid_influence=row.arrays["kid_influence"],
            ms=ms.get(contest.key(method)), pair_ms=pair_ms.get(contest.key(method)),
            flops=row.values["gflops"] * 1e9, operators=method.operators,
            num_steps=int(method.setting["num_steps"]),
            fd=(row.values["fd_lite0"] or {}).get("value"), setting=dict(method.setting),
        )
        for method, row in rows.items()
        if method.guidance == 1
    ]  # fmt: skip
    drawn = len(contest.drawn), config.rounds, config.resamples, config.seed, config.pair_rounds
    return charged(found), Resamples.draw(*drawn)
