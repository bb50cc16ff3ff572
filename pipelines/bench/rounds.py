"""Milliseconds of all rows, in rounds: every round calls each of them once, on the same seeds.

Two measurements one after the other also measure the machine's mood. A round's times belong
together; its order is drawn by chance; the seeds change from round to round, so that the spread
over rounds holds that of the pictures too. Rounds are appended to a file: a killed run goes on.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nitrogen.pipelines.bench.methods import Runner
from nitrogen.pipelines.metrics.timing import time_callables
from nitrogen.pipelines.sampling import Draws


def time_rounds(
    file: Path,
    runners: Mapping[str, Runner],
    drawn: Draws,
    *,
    batch: int,
    rounds: int,
    warmup: int = 1,
    calls: int = 1,  # of each in a round, in turn, of which the least counts
    on_round: Callable[[int, int, float], None] | None = None,  # done, of all, seconds
) -> dict[str, np.ndarray]:
    """Milliseconds a picture, float64 [rounds] for each key; element i of all is the same round.

    Rounds in `file` that hold every key count; the others are measured now, after `warmup` calls
    of each runner that are not written down.
    """
    done = read_rounds(file, list(runners), batch)
    missing = rounds - len(done)
    if missing > 0:
        for number in range(warmup):
            for run in runners.values():
                run(*part_of(drawn, number, batch))
        for _ in range(missing):
            number, began = len(done), time.monotonic()
            done.append(one_round(runners, drawn, batch, number, calls))
            load = round(os.getloadavg()[0], 2)
            append_line(file, {"batch": batch, "round": number, "load_1m": load, "ms": done[-1]})
            if on_round:
                on_round(len(done), rounds, time.monotonic() - began)
    return {key: np.array([times[key] for times in done[:rounds]]) for key in runners}


def one_round(
    runners: Mapping[str, Runner], drawn: Draws, batch: int, number: int, calls: int = 1
) -> dict[str, float]:
    """Each runner on the seeds of this round, in an order of its own; the least ms a picture of
    `calls` turns.

    A single picture goes before each timed call: what ran last has left its own weights in the
    processor's caches, and a server that runs one model does not find another's there.
    """
    labels, seeds = part_of(drawn, number, batch)
    keys = sorted(runners)
    ms = dict.fromkeys(keys, math.inf)
    for call in range(calls):
        for i in np.random.default_rng([number, batch, call]).permutation(len(keys)):
            run = runners[keys[i]]
            run(labels[:1], seeds[:1])
            timed = time_callables(
                {"run": partial(run, labels, seeds)}, repeats=1, warmup=0, images_per_call=batch
            )
            ms[keys[i]] = min(ms[keys[i]], float(timed["run"].ms[0]))
    return ms


def part_of(drawn: Draws, number: int, batch: int) -> tuple[list[int], list[int]]:
    """labels and seeds of a round; they start over when the draws are used up."""
    picked = [(number * batch + i) % len(drawn) for i in range(batch)]
    return [drawn.labels[i] for i in picked], [drawn.seeds[i] for i in picked]


def read_rounds(file: Path, keys: Sequence[str], batch: int) -> list[dict[str, float]]:
    """The rounds of this batch size that hold every key."""
    return [{key: float(one["ms"][key]) for key in keys} for one in held(file, keys, batch)]


def loads_of(file: Path, keys: Sequence[str], batch: int, rounds: int) -> list[float]:
    """Of the machine, in the first `rounds` that hold every key, where they tell it."""
    counted = list(held(file, keys, batch))[:rounds]
    return [float(one["load_1m"]) for one in counted if "load_1m" in one]


def held(file: Path, keys: Sequence[str], batch: int) -> Iterator[dict[str, Any]]:
    """The records of rounds of this batch size that hold every key."""
    for record in records(file):
        if record.get("batch") == batch and all(key in record["ms"] for key in keys):
            yield record


def is_record(record: Any) -> bool:
    """Whether it has times, all of them times, and a load that is a number, if any."""
    if not isinstance(record, dict) or not isinstance(record.get("ms"), dict):
        return False
    numbers = [*record["ms"].values(), record.get("load_1m", 0.0)]
    return all(type(one) in (int, float) and 0 <= one < math.inf for one in numbers)


def records(file: Path) -> Iterator[dict[str, Any]]:
    """Its lines; a torn or damaged one is passed over, and a missing file has none."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        with suppress(ValueError, RecursionError):
            if is_record(record := json.loads(line)):
                yield record


def append_line(file: Path, record: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    record = {"time": time.time(), **record}
    torn = file.exists() and not file.read_bytes().endswith(b"\n")
    with open(file, "a", encoding="utf-8") as stream:
        stream.write(("\n" if torn else "") + json.dumps(record) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
