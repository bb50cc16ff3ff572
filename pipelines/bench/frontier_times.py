"""Milliseconds of the rows of a frontier: of all of them in rounds, then more often of few.

A figure that is a ratio of two times near 1 needs more rounds than the hull does: 20 left the
predictor's share, about 0.02, within 0.1 either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nitrogen.pipelines.bench.conditions import where
from nitrogen.pipelines.bench.contenders import distinct
from nitrogen.pipelines.bench.contest import Contest
from nitrogen.pipelines.bench.forecast import picture_flops
from nitrogen.pipelines.bench.headline_rows import teachers_of
from nitrogen.pipelines.bench.methods import Method, runner
from nitrogen.pipelines.bench.rounds import time_rounds
from nitrogen.pipelines.bench.row_store import row_key
from nitrogen.pipelines.bench.twins import by_rows

ROUNDS, PAIRS = "rounds", "pairs"  # files of times
TIMED_BESIDE = 1.3  # timed rows over those that are known before the tuning
PAIRED_FORWARDS = 60  # of one round of pairs, about


def compared_in_pairs(ours: Sequence[Method], rows: Sequence[Method]) -> list[Method]:
    """The rows whose times stand in a ratio of two: ours and their teachers, the predictor computed
    and ignored and the full student beside it. Few, so they can be timed often."""
    ignored = [row for row in rows if row.kind == "ignored"]
    full = [by_rows(row) for row in ignored]
    found = [*ours, *teachers_of(ours, rows), *ignored, *(one for one in full if one)]
    return distinct(found)


def timed(
    contest: Contest, methods: Sequence[Method], folder: Path, batch: int, what: str = ROUNDS
) -> dict[str, np.ndarray]:
    """ms a picture of each timed row, [rounds], by the row's key. what: ROUNDS or PAIRS."""
    chosen = {contest.key(m): runner(m, contest.models) for m in methods if m.timed}
    rounds = num_rounds(contest, what)
    a_round = timing_work(contest, methods, batch)
    name = timing_name(batch, what)

    def on_round(done: int, total: int, taken_s: float) -> None:
        contest.forecast.part(name, (total - done) * a_round, taken_s)
        if what == ROUNDS or done % 10 == 0:
            contest.say(f"{name}: round {done} of {total}, {len(chosen)} rows")

    contest.say(f"{name}, {len(chosen)} rows")
    taken = time_rounds(
        file_of_times(folder, what), chosen, contest.drawn, batch=batch, rounds=rounds,
        on_round=on_round,
    )  # fmt: skip
    contest.forecast.drop(name)
    return taken


def expected_timing(contest: Contest, known: Sequence[Method]) -> dict[str, float]:
    """About the FLOPs of all rounds, from the rows that are known before the tuning."""
    full, found = float(contest.models.cost.full_flops), {}
    for batch in contest.config.batches:
        work = timing_work(contest, known, batch) * TIMED_BESIDE
        pairs = PAIRED_FORWARDS * full * (batch * slowness(batch) + slowness(1))
        found[timing_name(batch)] = contest.config.rounds * work
        found[timing_name(batch, PAIRS)] = contest.config.pair_rounds * pairs
    return found


def file_of_times(folder: Path, what: str) -> Path:
    """Of this machine, its threads and its kernels."""
    return folder / f"{what}-{row_key(where(), {})}.jsonl"


def num_rounds(contest: Contest, what: str) -> int:
    return contest.config.pair_rounds if what == PAIRS else contest.config.rounds


def timing_work(contest: Contest, methods: Sequence[Method], batch: int) -> float:
    """FLOPs of a round at one batch size, a single picture before each call included."""
    one = sum(picture_flops(m, contest.models) for m in methods if m.timed)
    return one * (batch * slowness(batch) + slowness(1))


def slowness(batch: int) -> float:
    """Time of a FLOP over that in a batch of 64, mean of both kinds of operators: about 4.5 for a
    single picture of `small` at 32 px and 1.8 for 8."""
    return float(1 + 3.5 / batch**0.7)


def timing_name(batch: int, what: str = ROUNDS) -> str:
    return f"timing {'pairs ' if what == PAIRS else ''}at batch {batch}"
