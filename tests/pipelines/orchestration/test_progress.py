"""What a run shows: plain lines, time left, the live display, the file for `status`."""

from __future__ import annotations

import io
import json

import pytest

from nitrogen.pipelines.progress import LiveProgress, PlainProgress, make_progress
from nitrogen.pipelines.progress_record import RecordedProgress
from nitrogen.pipelines.progress_state import duration


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_plain_lines_come_every_ten_seconds():
    clock, stream = Clock(), io.StringIO()
    progress = PlainProgress(stream, clock=clock)
    progress.begin_step("pretrain", 2, 8)
    for step in range(31):
        clock.now += 1.0
        progress.update(
            step=step, total=100, metrics={"grad": 1.0, "images_per_s": 64.0, "loss": 0.25}
        )
    progress.end_step("pretrain", "done", 31)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "[2/8] pretrain started"
    assert lines[-1] == "pretrain done in 31s"
    assert len(lines) == 5
    assert lines[1].startswith("[2/8] pretrain  step 9/100  loss 0.25  images/s 64  grad 1")
    assert lines[1].endswith("1m31s left"), "1 step a second, 91 steps to go"


def test_time_left_starts_from_a_resumed_step():
    clock, stream = Clock(), io.StringIO()
    progress = PlainProgress(stream, clock=clock)
    progress.begin_step("pretrain", 1, 1)
    progress.update(step=5000, total=5100)
    clock.now += 10
    progress.update(step=5010, total=5100)
    assert "1m30s left" in stream.getvalue()


def test_a_step_can_say_itself_how_long_it_takes():
    clock, stream = Clock(), io.StringIO()
    progress = PlainProgress(stream, clock=clock)
    progress.begin_step("pretrain", 1, 1)
    clock.now += 10
    progress.update(step=1, total=9, metrics={"loss": 1.0, "seconds_left": 300})
    line = stream.getvalue().splitlines()[-1]
    assert line.endswith("5m00s left")
    assert "seconds_left" not in line


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0s"), (59.6, "1m00s"), (65, "1m05s"), (3700, "1h01m")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_no_terminal_means_plain_lines():
    assert isinstance(make_progress(io.StringIO()), PlainProgress)


def test_terminal_and_no_color(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    progress = make_progress(stream)
    assert isinstance(progress, LiveProgress)
    progress.begin_step("pretrain", 1, 8)
    progress.update(step=1, total=4, metrics={"loss": 0.5, "images_per_s": 10.0})
    progress.message("a [bracketed] word")
    progress.end_step("pretrain", "done", 3.0)
    progress.close()
    shown = stream.getvalue()
    assert "a [bracketed] word" in shown
    assert "pretrain done in 3s" in shown
    assert "[1/8] pretrain" in shown
    assert "\x1b[32m" not in shown
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(make_progress(Terminal()), PlainProgress)


def test_the_latest_numbers_are_in_a_file(tmp_path):
    path, log = tmp_path / "progress.json", tmp_path / "run.log"
    progress = RecordedProgress(PlainProgress(io.StringIO()), path, log)
    progress.begin_step("pretrain", 2, 8)
    progress._written = 0.0
    progress.update(step=3, total=9, metrics={"loss": 0.5})
    record = json.loads(path.read_text())
    assert (record["step"], record["training_step"], record["training_steps"]) == ("pretrain", 3, 9)
    assert record["metrics"] == {"loss": 0.5}
    progress.message("hello")
    progress.close()
    assert not path.exists()
    assert log.read_text().splitlines()[-1].endswith(" hello")
