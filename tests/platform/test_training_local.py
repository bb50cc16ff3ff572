"""run_local: reports, checkpoints, resume, and what a kill -9 leaves."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nitrogen.platform import training
from nitrogen.platform.errors import ConfigError, TrainingError
from nitrogen.platform.training_checkpoints import (
    complete_checkpoints,
    newest_checkpoint,
    save_checkpoint,
)
from nitrogen.platform.training_journal import JOURNAL_NAME, Journal, JournalTail, read_events


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch):
    import ray

    def refuse(*_args, **_kwargs):
        raise AssertionError("a unit test must not start Ray")

    monkeypatch.setattr(ray, "init", refuse)


def counting(config, session):
    """Adds one a step; a checkpoint every `every` steps and at the end."""
    latest = session.latest_checkpoint()
    step = json.loads((latest / "state.json").read_text())["step"] if latest else 0
    while step < config["steps"]:
        step += 1
        if config.get("die_at") == step:
            raise RuntimeError("cut off")
        if config.get("sleep_s"):
            time.sleep(config["sleep_s"])
        stop = session.should_stop()
        checkpoint = None
        if stop or step % config["every"] == 0 or step == config["steps"]:
            checkpoint = Path(config["scratch"])
            checkpoint.mkdir(parents=True, exist_ok=True)
            (checkpoint / "state.json").write_text(json.dumps({"step": step}))
        session.report({"step": step, "loss": 1.0 / step}, checkpoint)
        if stop:
            return


def test_result_holds_last_checkpoint_and_all_metrics(tmp_path):
    events = []
    result = training.run_local(
        counting,
        {"steps": 7, "every": 3, "scratch": str(tmp_path / "s")},
        tmp_path / "run",
        events.append,
    )
    assert json.loads((result.checkpoint / "state.json").read_text()) == {"step": 7}
    assert result.metrics == {"step": 7, "loss": 1.0 / 7}
    assert [row["step"] for row in result.history] == [1, 2, 3, 4, 5, 6, 7]
    assert [event["report"] for event in events] == [1, 2, 3, 4, 5, 6, 7]
    assert [p.name for p in complete_checkpoints(tmp_path / "run/checkpoints")] == [
        "checkpoint-00000006",
        "checkpoint-00000007",
    ]
    assert not result.stopped


def test_resume_repeats_only_what_came_after_the_checkpoint(tmp_path):
    config = {"steps": 8, "every": 3, "scratch": str(tmp_path / "s")}
    with pytest.raises(RuntimeError, match="cut off"):
        training.run_local(counting, {**config, "die_at": 6}, tmp_path / "run")
    events = []
    result = training.run_local(counting, config, tmp_path / "run", events.append)
    assert [event["metrics"]["step"] for event in events] == [4, 5, 6, 7, 8]
    assert [row["step"] for row in result.history] == list(range(1, 9))
    again = training.run_local(counting, config, tmp_path / "run")
    assert again.metrics == result.metrics
    assert again.history == result.history


def test_stop_is_seen_and_the_run_goes_on_later(tmp_path):
    config = {"steps": 8, "every": 100, "scratch": str(tmp_path / "s")}
    calls = iter(range(100))
    result = training.run_local(
        counting, config, tmp_path / "run", should_stop=lambda: next(calls) >= 2
    )
    assert result.stopped
    assert result.metrics["step"] == 3
    assert training.run_local(counting, config, tmp_path / "run").metrics["step"] == 8


def test_damaged_checkpoint_is_passed_over(tmp_path, caplog):
    source = tmp_path / "source"
    source.mkdir()
    (source / "weights").write_bytes(b"x" * 100)
    root = tmp_path / "checkpoints"
    first = save_checkpoint(root, source, 1, {"step": 1})
    second = save_checkpoint(root, source, 2, {"step": 2})
    assert newest_checkpoint(root) == second
    (second / "weights").write_bytes(b"x" * 50)
    assert newest_checkpoint(root) == first
    assert "incomplete" in caplog.text
    # The same number again replaces the damaged one.
    assert newest_checkpoint(root) != second
    save_checkpoint(root, source, 2, {"step": 2})
    assert newest_checkpoint(root) == second


def test_half_copied_checkpoint_is_discarded(tmp_path):
    incoming = tmp_path / "run/checkpoints/.incoming-checkpoint-00000004"
    incoming.mkdir(parents=True)
    (incoming / "state.json").write_text("{}")
    config = {"steps": 2, "every": 1, "scratch": str(tmp_path / "s")}
    assert training.run_local(counting, config, tmp_path / "run").metrics["step"] == 2
    assert not incoming.exists()


def test_no_checkpoint_is_an_error_and_a_file_is_too(tmp_path):
    with pytest.raises(TrainingError, match="without a checkpoint"):
        training.run_local(lambda config, session: session.report({"a": 1}), {}, tmp_path / "a")
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(TrainingError, match="must be a directory"):
        training.run_local(
            lambda config, session: session.report({"a": 1}, file), {}, tmp_path / "b"
        )


@pytest.mark.parametrize("path", ["nowhere.at_all:fn", "json:missing", "json", ""])
def test_import_path_errors_name_the_path(path, tmp_path):
    with pytest.raises(ConfigError, match="train_fn must be importable"):
        training.run_local(path, {}, tmp_path)


def test_tensors_become_numbers():
    import torch

    assert training.plain_metrics({"a": torch.tensor(0.5), "n": 3}) == {"a": 0.5, "n": 3}


def test_threads_are_set_and_restored(tmp_path):
    import torch

    seen = []

    def train(config, session):
        seen.append(torch.get_num_threads())
        (tmp_path / "c").mkdir()
        session.report({"x": 1}, tmp_path / "c")

    before = torch.get_num_threads()
    training.run_local(train, {}, tmp_path / "run", num_threads=1)
    assert seen == [1]
    assert torch.get_num_threads() == before


def test_journal_cuts_half_a_line_and_rewinds(tmp_path):
    path = tmp_path / JOURNAL_NAME
    journal = Journal(path)
    for report in (1, 2, 3):
        journal.append(report, {"step": report}, False)
    with path.open("a") as file:
        file.write('{"report": 4, "met')
    journal = Journal(path)
    journal.append(4, {"step": 4}, False)
    assert [event["report"] for event in read_events(path)] == [1, 2, 3, 4]
    journal.append(2, {"step": 20}, True)
    assert [event["metrics"]["step"] for event in read_events(path)] == [1, 20]


def test_tail_delivers_new_events_once_and_follows_a_rewind(tmp_path):
    path = tmp_path / JOURNAL_NAME
    journal = Journal(path)
    journal.append(1, {"step": 1}, False)
    seen = []
    with JournalTail(path, lambda event: seen.append(event["metrics"]["step"]), 0.01):
        journal.append(2, {"step": 2}, False)
        time.sleep(0.1)
        journal.append(3, {"step": 3}, False)
        time.sleep(0.1)
        journal.append(2, {"step": 22}, False)
    assert seen == [2, 3, 22]


CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
from test_training_local import counting
from nitrogen.platform import training
training.run_local(counting, {"steps": 60, "every": 1, "scratch": sys.argv[2] + "/s",
                   "sleep_s": 0.004}, sys.argv[2] + "/run")
"""


def test_kill_9_at_any_point_leaves_a_usable_state(tmp_path):
    """Killed again and again, it still gets to the end, with each step in the history once."""
    command = [sys.executable, "-c", CHILD, str(Path(__file__).parent), str(tmp_path)]
    journal = tmp_path / "run" / JOURNAL_NAME
    kills = 0
    for round_index in range(4):
        process = subprocess.Popen(command)
        start = sum(1 for _ in read_events(journal))
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if sum(1 for _ in read_events(journal)) > start + 5:
                time.sleep(0.001 * round_index)
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.001)
        process.wait()
    result = training.run_local(
        counting, {"steps": 60, "every": 1, "scratch": str(tmp_path / "s")}, tmp_path / "run"
    )
    assert kills >= 2
    assert [row["step"] for row in result.history] == list(range(1, 61))


def test_a_full_disk_is_said_in_its_own_words(tmp_path, monkeypatch):
    """`copytree` gathers its errors in a list of tuples, which is no sentence."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "weights").write_text("w")

    def full(*_, **__):
        raise OSError(28, "No space left on device", "weights")

    monkeypatch.setattr("shutil.copy2", full)
    monkeypatch.setattr("shutil.copytree", functools.partial(shutil.copytree, copy_function=full))
    with pytest.raises(TrainingError, match=r"written \(No space left on device\)\. Free disk"):
        save_checkpoint(tmp_path / "checkpoints", source, 1, {"step": 1})
    assert list((tmp_path / "checkpoints").iterdir()) == []
