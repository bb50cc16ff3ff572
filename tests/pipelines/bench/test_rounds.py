"""Timing rounds are paired, warmed up, and survive a kill; rows come back by key."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import torch

from nitrogen.pipelines.bench import rounds
from nitrogen.pipelines.bench.methods import Drawn
from nitrogen.pipelines.bench.rounds import loads_of, read_rounds, time_rounds
from nitrogen.pipelines.bench.row_store import Row, RowStore, row_key
from nitrogen.pipelines.metrics.timing import Timing
from nitrogen.pipelines.sampling import Draws

DRAWN = Draws(list(range(10)), list(range(100, 110)))


def recorder(name: str, calls: list):
    def run(labels, seeds):
        calls.append((name, tuple(seeds)))
        return Drawn(torch.zeros(len(seeds)), torch.zeros(1), torch.zeros(1))

    return run


@pytest.fixture
def calls() -> list:
    return []


@pytest.fixture
def runners(calls):
    return {name: recorder(name, calls) for name in ("a", "b", "c")}


def test_rounds_are_paired_and_in_an_order_of_their_own(runners, calls, tmp_path: Path):
    ms = time_rounds(tmp_path / "r.jsonl", runners, DRAWN, batch=2, rounds=12, warmup=1)
    assert {key: len(taken) for key, taken in ms.items()} == {"a": 12, "b": 12, "c": 12}
    warm, rest = calls[:3], calls[3:]
    assert [name for name, _ in warm] == ["a", "b", "c"]  # each once, not written down
    before, timed = rest[::2], rest[1::2]
    assert len(timed) == 36
    # A single picture of the same row goes before each timed call.
    assert before == [(name, seeds[:1]) for name, seeds in timed]
    by_round = [timed[3 * number : 3 * number + 3] for number in range(12)]
    for round_ in by_round:
        assert sorted(name for name, _ in round_) == ["a", "b", "c"]
        assert len({seeds for _, seeds in round_}) == 1  # the same seeds for every row
    orders = [tuple(name for name, _ in round_) for round_ in by_round]
    assert len(set(orders)) > 3
    assert {order[0] for order in orders} == {"a", "b", "c"}
    seeds = [round_[0][1] for round_ in by_round]
    assert seeds[:4] == [(100, 101), (102, 103), (104, 105), (106, 107)]


def test_the_warm_up_is_not_in_the_times(tmp_path: Path):
    slow_once = iter([0.05, *[0] * 6])

    def run(labels, seeds):
        time.sleep(next(slow_once))
        return None

    ms = time_rounds(tmp_path / "r.jsonl", {"a": run}, DRAWN, batch=1, rounds=3, warmup=1)
    assert ms["a"].max() < 40


def test_rounds_at_hand_are_not_measured_again(runners, calls, tmp_path: Path):
    file = tmp_path / "r.jsonl"
    first = time_rounds(file, runners, DRAWN, batch=2, rounds=3)
    calls.clear()
    again = time_rounds(file, runners, DRAWN, batch=2, rounds=3)
    assert not calls
    np.testing.assert_array_equal(again["b"], first["b"])
    time_rounds(file, runners, DRAWN, batch=2, rounds=5)
    assert len(calls) == 3 + 2 * 6  # the warm-up and two rounds
    calls.clear()
    time_rounds(file, runners, DRAWN, batch=1, rounds=1)
    assert calls, "another batch size has rounds of its own"


def test_a_new_row_is_timed_with_all_others(runners, calls, tmp_path: Path):
    file = tmp_path / "r.jsonl"
    time_rounds(file, {"a": runners["a"]}, DRAWN, batch=1, rounds=2)
    calls.clear()
    time_rounds(file, runners, DRAWN, batch=1, rounds=2, warmup=0)
    assert sorted(name for name, _ in calls[1:6:2]) == ["a", "b", "c"]
    assert len(calls) == 12


def test_a_torn_line_is_passed_over(runners, tmp_path: Path):
    file = tmp_path / "r.jsonl"
    time_rounds(file, runners, DRAWN, batch=1, rounds=2)
    whole = file.read_text()
    file.write_text(whole + whole.splitlines()[0][:30])
    assert len(read_rounds(file, ["a", "b", "c"], 1)) == 2
    time_rounds(file, runners, DRAWN, batch=1, rounds=3)
    assert len(read_rounds(file, ["a", "b", "c"], 1)) == 3


@pytest.mark.parametrize(
    "damage",
    [
        "5",
        "[1]",
        "{}",
        '{"batch": 1}',
        '{"batch": 1, "ms": null}',
        "\xff",
        "[" * 100_000,
        *(
            f'{{"batch": 1, "ms": {{"a": {bad}, "b": 1, "c": 1}}}}'
            for bad in ("null", '"x"', "NaN", "-5")
        ),
        '{"batch": 1, "ms": {"a": 1, "b": 1, "c": 1}, "load_1m": "x"}',
    ],
)
def test_a_damaged_line_is_passed_over(damage, runners, tmp_path: Path):
    file = tmp_path / "r.jsonl"
    time_rounds(file, runners, DRAWN, batch=1, rounds=2)
    file.write_bytes(file.read_bytes() + damage.encode("latin1") + b"\n")
    assert len(read_rounds(file, ["a", "b", "c"], 1)) == 2
    assert len(loads_of(file, ["a", "b", "c"], 1, 9)) == 2


def test_loads_are_those_of_the_rounds_that_count(tmp_path: Path):
    file = tmp_path / "r.jsonl"
    both = {"a": 1, "b": 1}
    lines = [
        {"batch": 1, "load_1m": 2.0, "ms": both},
        {"batch": 1, "load_1m": 9.0, "ms": {"a": 1}},  # another set of rows
        {"batch": 8, "load_1m": 8.0, "ms": both},
        {"batch": 1, "ms": both},  # of an older version
        {"batch": 1, "load_1m": 3.0, "ms": both},
        {"batch": 1, "load_1m": 7.0, "ms": both},  # one more than was asked for
    ]
    file.write_text("".join(json.dumps(one) + "\n" for one in lines))
    assert loads_of(file, ["a", "b"], 1, 3) == [2.0, 3.0]
    assert loads_of(tmp_path / "none.jsonl", ["a"], 1, 3) == []


def test_of_several_calls_in_a_round_the_least_counts(runners, calls, tmp_path: Path, monkeypatch):
    taken: dict[str, Iterator[float]] = {name: cycle([5.0, 2.0, 9.0]) for name in runners}

    def timed(paths, **_):
        paths["run"]()
        name, _ = calls[-1]
        return {"run": Timing("run", np.array([next(taken[name])]))}

    monkeypatch.setattr(rounds, "time_callables", timed)
    found = time_rounds(tmp_path / "r.jsonl", runners, DRAWN, batch=1, rounds=2, warmup=0, calls=3)
    assert len(calls) == 2 * 2 * 3 * len(runners)
    assert {name: ms.tolist() for name, ms in found.items()} == {key: [2.0, 2.0] for key in "abc"}


# -------------------------------------------------------------------------------------- rows


def test_a_row_comes_back_and_a_damaged_one_does_not(tmp_path: Path):
    store = RowStore(tmp_path / "rows")
    assert store.get("k") is None
    store.put(Row("k", {"name": "x"}, {"mse": np.arange(3.0)}))
    found = store.get("k")
    assert found is not None
    assert found.values == {"name": "x"}
    np.testing.assert_array_equal(found.arrays["mse"], np.arange(3.0))
    file = tmp_path / "rows" / "k.npz"
    whole = file.read_bytes()
    plain, text = io.BytesIO(), io.BytesIO()
    np.save(plain, np.arange(3.0))
    with zipfile.ZipFile(text, "w") as archive:
        archive.writestr("mse", "no array")
    for damaged in (b"PK half", whole[: len(whole) // 2], plain.getvalue(), text.getvalue()):
        file.write_bytes(damaged)
        assert store.get("k") is None
    (tmp_path / "rows" / "k.json").unlink()
    assert store.get("k") is None


def test_a_key_follows_everything_it_is_made_of():
    base = row_key({"name": "a", "setting": {"num_steps": 4}}, {"weights": "1"})
    assert row_key({"setting": {"num_steps": 4}, "name": "a"}, {"weights": "1"}) == base
    assert row_key({"name": "a", "setting": {"num_steps": 5}}, {"weights": "1"}) != base
    assert row_key({"name": "a", "setting": {"num_steps": 4}}, {"weights": "2"}) != base


KILLED = """
import sys, time
from pathlib import Path
import numpy as np
from nitrogen.pipelines.bench.row_store import Row, RowStore
from nitrogen.pipelines.bench.rounds import append_line
folder = Path(sys.argv[1])
store, big = RowStore(folder / "rows"), np.random.default_rng(0).random(400_000)
for number in range(10_000):
    store.put(Row(f"k{number}", {"number": number}, {"mse": big}))
    append_line(folder / "r.jsonl", {"batch": 1, "round": number, "ms": {"a": 1.0}})
    print(number, flush=True)
"""


@pytest.mark.slow
def test_what_was_finished_survives_kill_9(tmp_path: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(3):
        last = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    store = RowStore(tmp_path / "rows")
    for number in range(last + 1):
        found = store.get(f"k{number}")
        assert found is not None
        assert found.values == {"number": number}
    assert len(read_rounds(tmp_path / "r.jsonl", ["a"], 1)) >= last
    for path in (tmp_path / "rows").glob("*.json"):
        json.loads(path.read_text())
