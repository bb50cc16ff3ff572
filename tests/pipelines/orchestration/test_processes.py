"""Real processes: kill -9, signals and exit codes, the lock between two runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nitrogen.pipelines.run_lock import lock_holder, run_lock
from nitrogen.platform.errors import LockLostError, StorageError
from nitrogen.platform.mirror_lock import LOCK

_DRIVER = """
import sys, time
from pathlib import Path
from nitrogen.pipelines.runner import run_recipe
from nitrogen.pipelines.services import Services
from nitrogen.pipelines.recipe import load_recipe
from nitrogen.pipelines.step_table import StepSpec
from nitrogen.pipelines.progress import PlainProgress
import slow_step
steps = {"train": StepSpec("train", "slow_step", "TrainConfig")}
services = Services(tracker=lambda uri, name, home: None)
recipe = load_recipe("recipe.yaml", sys.argv[1:], steps).recipe
try:
    result = run_recipe(
        recipe, Path("out"), progress=PlainProgress(), services=services, steps=steps
    )
except KeyboardInterrupt as stop:
    sys.exit(stop.exit_code)
print(result.outcomes["train"].state, result.outcomes["train"].result["count"])
"""

_STEP = """
import time
from pydantic import BaseModel, ConfigDict
class TrainConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    steps: int = 3

def run(config, context):
    counter = context.dir / "counter"
    count = int(counter.read_text()) if counter.exists() else 0
    (context.dir / "starts").open("a").write("x")
    while count < config.steps:
        count += 1
        counter.write_text(str(count))
        if count == 2 and (context.dir / "starts").read_text() == "x":
            print("halfway", flush=True)
            time.sleep(60)
    return {"count": count}
"""


# A folder beside it stands in for the bucket; looked at often, for the test's sake.
_IN_A_BUCKET = """
import sys
from pathlib import Path
from nitrogen.pipelines import runner
from nitrogen.platform.errors import NitrogenError
from nitrogen.platform.mirror import Mirror
held = Mirror.held
Mirror.held = lambda self, say, stop: held(self, say, 0.05, stop)
runner.open_out = lambda out: (Path(out), Mirror(Path(out), "bucket"))
try:
    import driver
except NitrogenError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "slow_step.py").write_text(_STEP)
    (tmp_path / "driver.py").write_text(_DRIVER)
    (tmp_path / "recipe.yaml").write_text("name: slow\nexecutor: {kind: local}\n")
    return tmp_path


def start(workspace: Path, program: str = "driver.py") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, program],
        cwd=workspace,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def halfway(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "halfway"


def test_kill_9_then_resume(workspace):
    killed = start(workspace)
    halfway(killed)
    killed.kill()
    killed.communicate()
    assert lock_holder(workspace / "out/.lock") is None, "the kernel freed the lock"
    output, errors = start(workspace).communicate(timeout=30)
    assert output.split() == ["done", "3"], errors
    directory = next((workspace / "out/steps").glob("train-*"))
    assert (directory / "starts").read_text() == "xx"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_stop_cleanly(workspace, number, code):
    process = start(workspace)
    halfway(process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in errors
    summary = json.loads((workspace / "out/summary.json").read_text())
    assert summary["status"] == "stopped"
    assert summary["steps"]["train"]["state"] == "stopped"
    events = (workspace / "out/journal.jsonl").read_text()
    assert '"run stopped"' in events


def test_a_run_whose_bucket_another_run_takes_over_stops(workspace):
    (workspace / "bucketed.py").write_text(_IN_A_BUCKET)
    process = start(workspace, "bucketed.py")
    halfway(process)
    record = json.dumps({"host": "another", "pid": 1, "id": "x", "time": time.time()})
    # At once, as a bucket has it: the run looks at it every now and then.
    (workspace / "record").write_text(record)
    (workspace / "record").replace(workspace / "bucket" / LOCK)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == LockLostError.exit_code == 4, errors
    assert "Traceback" not in errors
    assert "bucket must be this run's, got process 1 on another that took it over" in errors
    assert "What this run made lies in" in errors
    summary = json.loads((workspace / "out/summary.json").read_text())
    assert summary["status"] == "stopped"
    assert "took it over" in summary["error"]
    assert (workspace / "bucket" / LOCK).read_text() == record
    assert not (workspace / "bucket/summary.json").exists(), "the bucket is the other run's"


def test_two_runs_do_not_share_a_folder(workspace):
    first = start(workspace)
    try:
        halfway(first)
        holder = lock_holder(workspace / "out/.lock")
        assert holder is not None
        assert holder["pid"] == first.pid
        second = start(workspace)
        _, errors = second.communicate(timeout=30)
        assert second.returncode != 0
        assert f"must be free, got a run by process {first.pid}" in errors
    finally:
        first.kill()
        first.communicate()


def test_a_stale_lock_file_of_a_dead_process_is_taken_over(tmp_path):
    lock = tmp_path / ".lock"
    lock.write_text(json.dumps({"pid": 2**22 - 1, "host": "gone", "since": 0}))
    with run_lock(lock):
        assert lock_holder(lock)["pid"] == os.getpid()
        with pytest.raises(StorageError, match="must be free"), run_lock(lock):
            pass
    assert lock_holder(lock) is None


def test_a_folder_that_cannot_be_written_gets_a_sentence(tmp_path):
    with (
        pytest.raises(StorageError, match="--out must be a writable folder"),
        run_lock(tmp_path / "missing" / ".lock"),
    ):
        pass


def test_lock_is_free_again_after_an_exception(tmp_path):
    lock = tmp_path / ".lock"
    with pytest.raises(ValueError, match="inside"), run_lock(lock):
        raise ValueError("inside")
    started = time.monotonic()
    with run_lock(lock):
        assert time.monotonic() - started < 1
