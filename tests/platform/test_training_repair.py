"""What a kill leaves of a Ray Train run folder, and what is made of it, without Ray running."""

import json
import shutil

import pytest
from pyarrow.fs import LocalFileSystem

from nitrogen.platform.training_checkpoints import write_note
from nitrogen.platform.training_journal import JOURNAL_NAME, Journal, read_events
from nitrogen.platform.training_repair import SNAPSHOT_NAME, mend_journal, repair_run

STORE = LocalFileSystem()


def event(report):
    return {"report": report, "time": report, "metrics": {"step": report}, "checkpoint": False}


@pytest.fixture
def run(tmp_path):
    """Checkpoints at reports 4 and 8, and Ray's list of them as this module writes it."""
    folder = tmp_path / "a run"
    for name, report in (("checkpoint_b", 4), ("checkpoint_a", 8)):
        (folder / name).mkdir(parents=True)
        (folder / name / "weights").write_bytes(b"w" * report)
        events = [event(i) for i in range(report - 3, report + 1)]
        write_note(folder / name, report, {"step": report}, events)
    assert repair_run(STORE, str(folder)) == "mended"
    return folder


def latest(folder):
    state = json.loads((folder / SNAPSHOT_NAME).read_text())
    return state["latest_checkpoint_result"]


def test_new_and_sound_runs_are_left_alone(tmp_path, run):
    assert repair_run(STORE, str(tmp_path / "nothing")) == "new"
    before = (run / SNAPSHOT_NAME).read_bytes()
    assert repair_run(STORE, str(run)) == "sound"
    assert (run / SNAPSHOT_NAME).read_bytes() == before


def test_ray_reads_the_list_that_was_made(run):
    from ray.train import CheckpointConfig
    from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import CheckpointManager
    from ray.train.v2._internal.execution.storage import StorageContext

    storage = StorageContext(str(run.parent), run.name, STORE)
    manager = CheckpointManager(CheckpointConfig(num_to_keep=2), storage)
    newest = manager.latest_checkpoint_result
    assert newest.checkpoint.path == str(run / "checkpoint_a")
    assert newest.metrics == {"step": 8}


@pytest.mark.parametrize("damage", ["empty", "half", "gone"])
def test_half_a_list_is_made_again(run, damage):
    path = run / SNAPSHOT_NAME
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: 0 if damage == "empty" else 50])
    assert repair_run(STORE, str(run)) == "mended"
    assert latest(run)["checkpoint_dir_name"] == "checkpoint_a"


@pytest.mark.parametrize("damage", ["short file", "no file", "no note", "no folder"])
def test_an_incomplete_checkpoint_gives_way_to_the_one_before(run, damage):
    broken = run / "checkpoint_a"
    if damage == "short file":
        (broken / "weights").write_bytes(b"w")
    elif damage == "no file":
        (broken / "weights").unlink()
    elif damage == "no note":
        (broken / "_report.json").unlink()
    else:
        shutil.rmtree(broken)
    assert repair_run(STORE, str(run)) == "mended"
    assert latest(run)["checkpoint_dir_name"] == "checkpoint_b"
    assert not broken.exists()


def test_a_half_uploaded_checkpoint_is_removed(run):
    (run / "checkpoint_c").mkdir()
    (run / "checkpoint_c" / "weights").write_bytes(b"w")
    assert repair_run(STORE, str(run)) == "sound"
    assert not (run / "checkpoint_c").exists()


@pytest.mark.parametrize("written", [0, 3, 6, 8, 11])
def test_journal_reaches_exactly_the_newest_checkpoint(run, written):
    journal = Journal(run / JOURNAL_NAME)
    for report in range(1, written + 1):
        journal.append(report, {"step": report}, False)
    mend_journal(STORE, str(run), run / JOURNAL_NAME)
    assert [e["report"] for e in read_events(run / JOURNAL_NAME)] == list(range(1, 9))


def test_journal_is_fetched_from_elsewhere(run, tmp_path):
    Journal(run / JOURNAL_NAME).append(1, {"step": 1, "here": 1}, False)
    mend_journal(STORE, str(run), tmp_path / "other" / JOURNAL_NAME)
    events = list(read_events(tmp_path / "other" / JOURNAL_NAME))
    assert [e["report"] for e in events] == list(range(1, 9))
    assert "here" in events[0]["metrics"]
