"""Milliseconds of the rows of a frontier: of all of them in rounds, then more often of few.

A figure that is a ratio of two times near 1 needs more rounds than the hull does: 20 left the
predictor's share, about 0.02, within 0.1 either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nitrogen.pipelines.bench.conditions import where
from nitrogen.pipelines.bench.contenders import distinct
from nitrogen.pipelines.bench.contest import Contest
from nitrogen.pipelines.bench.forecast import picture_flops
from nitrogen.pipelines.bench.methods import Method, runner
from nitrogen.pipelines.bench.rounds import loads_of, time_rounds
from nitrogen.pipelines.bench.row_store import row_key
from nitrogen.pipelines.bench.settings import SOLVER
from nitrogen.pipelines.bench.twins import by_rows

ROUNDS, PAIRS = "rounds", "pairs"  # files of times
CALLS = 3  # of a row in a round of pairs, of which the least counts: what disturbs only adds
TIMED_BESIDE = 1.3  # timed rows over those that are known before the tuning
PAIRED_FORWARDS = 80 * CALLS  # of one round of pairs, about


def compared_in_pairs(ours: Sequence[Method], rows: Sequence[Method]) -> list[Method]:
    """The rows whose times stand in a ratio of two: ours and their teachers by either operators,
    the predictor computed and ignored and the full student beside it. Few, so they can be timed
    often."""
    steps = {row.setting["num_steps"] for row in ours}
    teachers = [
        row for row in rows
        if row.group == "teacher" and row.guidance == 1
        and row.setting["solver"] == SOLVER and row.setting["num_steps"] in steps
    ]  # fmt: skip
    ignored = [row for row in rows if row.kind == "ignored"]
    full = [by_rows(row) for row in ignored]
    return distinct([*ours, *teachers, *ignored, *(one for one in full if one)])


@dataclass(frozen=True)
class Timed:
    """ms: a picture, [rounds] of each row by its key; loads: of the machine, by round, where they
    are told."""

    ms: dict[str, np.ndarray]
    loads: list[float]


def timed(
    contest: Contest, methods: Sequence[Method], folder: Path, batch: int, what: str = ROUNDS
) -> Timed:
    """Every row that is timed at all. what: ROUNDS or PAIRS, which are the least of CALLS."""
    chosen = {contest.key(m): runner(m, contest.models) for m in methods if m.timed}
    rounds = num_rounds(contest, what)
    a_round = timing_work(contest, methods, batch)
    name = timing_name(batch, what)

    def on_round(done: int, total: int, taken_s: float) -> None:
        contest.forecast.part(name, (total - done) * a_round, taken_s)
        if what == ROUNDS or done % 10 == 0:
            contest.say(f"{name}: round {done} of {total}, {len(chosen)} rows")

    contest.say(f"{name}, {len(chosen)} rows")
    calls = CALLS if what == PAIRS else 1
    taken = time_rounds(
        file_of_times(folder, what), chosen, contest.drawn, batch=batch, rounds=rounds,
        on_round=on_round, calls=calls,
    )  # fmt: skip
    contest.forecast.drop(name)
    return Timed(taken, loads_of(file_of_times(folder, what), list(chosen), batch, rounds))


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
