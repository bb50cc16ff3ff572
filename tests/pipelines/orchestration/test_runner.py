"""The runner: caching, resuming, forcing, adopting, failing, and what a run leaves behind."""

from __future__ import annotations

import json

import pytest

from nitrogen.pipelines import runner
from nitrogen.pipelines.adoption import Adoption, parse_adoption
from nitrogen.pipelines.plan import Selection, plan
from nitrogen.pipelines.recipe import load_recipe
from nitrogen.pipelines.run_folder import RunFolder
from nitrogen.pipelines.runner import run_recipe
from nitrogen.pipelines.summary import closing_lines
from nitrogen.platform import storage
from nitrogen.platform.errors import ConfigError, StorageError, TrackingError, TrainingError
from nitrogen.platform.mirror import Mirror


@pytest.fixture
def run(pipeline, recipe_file, progress, tmp_path):
    def go(*overrides, out="out", selection=None, adoption=None):
        recipe = load_recipe(str(recipe_file), overrides, pipeline.steps).recipe
        return run_recipe(
            recipe,
            tmp_path / out,
            selection=selection,
            adoption=adoption,
            progress=progress,
            services=pipeline.services,
            steps=pipeline.steps,
        )

    return go


def states(result) -> dict[str, str]:
    return {name: outcome.state for name, outcome in result.outcomes.items()}


def test_first_run_then_cached(run, pipeline):
    assert states(run()) == {"prepare": "done", "train": "done", "evaluate": "done"}
    assert states(run()) == {"prepare": "cached", "train": "cached", "evaluate": "cached"}
    assert len(pipeline.calls("train")) == 1


def test_summary_follows_the_contract(run, tmp_path):
    result = run()
    assert result.summary == tmp_path / "out" / "summary.json"
    summary = json.loads(result.summary.read_text())
    assert summary["status"] == "finished"
    assert set(summary["steps"]) == {"prepare", "train", "evaluate"}
    for row in summary["steps"].values():
        assert len(row["key"]) == 64
        assert row["state"] == "done"
        assert row["seconds"] >= 0
    assert summary["student"] == {"fd_lite0": 1.5, "n": 4, "ms_p50": 2.0, "gflops": 0.1}
    assert len(summary["images"]) == 1
    assert summary["images"][0].endswith("grid.png")
    pace = "speed     the student is 1.2 times as fast as the teacher (0.98 to 1.39, 95 %, n = 10)"
    assert pace in list(closing_lines(summary, tmp_path))


def test_only_the_changed_step_and_those_after_it_run(run):
    run()
    changed = states(run("train.gating_penalty=0.9"))
    assert changed == {"prepare": "cached", "train": "done", "evaluate": "done"}
    assert states(run())["train"] == "cached", "the first result is still there"


def test_equal_output_of_an_earlier_step_keeps_later_ones_cached(run, pipeline):
    run()
    changed = states(run("prepare.source=elsewhere"))
    assert changed == {"prepare": "done", "train": "cached", "evaluate": "cached"}


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"v" * path.stat().st_size),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
    ],
)
def test_a_damaged_result_is_made_again(run, tmp_path, damage):
    run()
    damage(next((tmp_path / "out/steps").glob("train-*/weights.bin")))
    assert states(run())["train"] == "done"


def test_a_cut_off_step_goes_on_in_its_directory(run, pipeline, tmp_path, tracker):
    run()
    directory = next((tmp_path / "out/steps").glob("train-*"))
    (directory / "_SUCCESS.json").unlink()
    runs_before = dict(tracker.runs)
    assert states(run())["train"] == "done"
    assert (directory / "checkpoint.txt").read_text() == "2"
    assert tracker.runs == runs_before, "the resumed step found its MLflow run again"


def test_force_starts_from_nothing_and_keeps_one_older_copy(run, tmp_path, tracker):
    run()
    runs_before = len(tracker.runs)
    result = run(selection=Selection(force=("train",)))
    assert states(result) == {"prepare": "cached", "train": "done", "evaluate": "cached"}
    directories = sorted(path.name for path in (tmp_path / "out/steps").glob("train-*"))
    assert len(directories) == 2
    assert directories[1].endswith(".previous")
    assert (tmp_path / "out/steps" / directories[0] / "checkpoint.txt").read_text() == "1"
    assert len(tracker.runs) == runs_before + 1
    assert states(run())["train"] == "cached"


def test_from_runs_everything_after_it_again(run):
    run()
    result = run(selection=Selection(again="train"))
    assert states(result) == {"prepare": "cached", "train": "done", "evaluate": "done"}


def test_until_and_only(run):
    assert states(run(selection=Selection(until="train"))) == {"prepare": "done", "train": "done"}
    run()
    assert states(run(selection=Selection(only="prepare"))) == {
        "prepare": "cached",
        "train": "cached",
        "evaluate": "cached",
    }


def test_a_wrong_step_name_writes_nothing(run, tmp_path):
    with pytest.raises(ConfigError, match="step must be one of prepare, train, evaluate"):
        run(selection=Selection(until="trian"))
    assert not (tmp_path / "out").exists()


def test_failure_is_recorded_and_the_next_run_goes_on(run, pipeline, tmp_path, tracker):
    with pytest.raises(TrainingError, match="loss must be finite"):
        run("train.mode=nan")
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["status"] == "failed"
    assert summary["steps"]["train"]["state"] == "failed"
    assert "loss must be finite" in summary["error"]
    assert ("run-2-train", "FAILED") in tracker.finished
    assert states(run())["prepare"] == "cached"


def test_interrupt_marks_runs_killed(run, tmp_path, tracker):
    with pytest.raises(KeyboardInterrupt):
        run("train.mode=interrupt")
    assert json.loads((tmp_path / "out/summary.json").read_text())["status"] == "stopped"
    assert {status for _, status in tracker.finished[1:]} == {"KILLED"}


def test_context_of_a_step(run, pipeline, tmp_path, tracker):
    run("seed=5")
    context = pipeline.calls("train")[0]
    assert context.inputs["prepare"]["data"].endswith("/data")
    assert context.inputs["prepare"].dir.is_dir()
    assert context.seed == 5
    assert context.executor == "local"
    assert context.run_id == tracker.runs[next(key for key in tracker.runs if "train-" in key)]
    assert tracker.params[context.run_id]["seed"] == 5
    assert context.dir.name == f"train-{context.key[:12]}"
    assert context.run_dir == tmp_path / "out"


def test_a_run_folder_can_move(run, pipeline, tmp_path):
    run()
    (tmp_path / "out").rename(tmp_path / "moved here")
    result = run(out="moved here")
    assert set(states(result).values()) == {"cached"}
    weights = result.outcomes["train"].result["weights"]
    assert weights.startswith(str(tmp_path / "moved here"))


def test_adopt_takes_what_only_code_changed(run, pipeline, tmp_path):
    run(out="old")
    pipeline.edit("maths", "2 * 8", "3 * 8")
    result = run(out="new", adoption=Adoption(tmp_path / "old"))
    assert states(result)["train"] == "cached"
    assert len(pipeline.calls("train")) == 1
    row = json.loads(result.summary.read_text())["steps"]["train"]
    assert str(tmp_path / "old") in row["adopted_from"]
    record = RunFolder(tmp_path / "new").record("train", result.outcomes["train"].key)
    assert record.marker["lineage"]["changed"] == [f"code changed: {pipeline.package}.maths"]
    assert record.result["weights"].startswith(str(tmp_path / "new"))


def test_adopt_refuses_another_config_unless_the_step_is_named(run, pipeline, tmp_path):
    run(out="old")
    overrides = ("train.gating_penalty=0.7",)
    named = parse_adoption(f"{tmp_path}/old:train", tmp_path / "two", pipeline.steps)
    assert (
        states(run(*overrides, out="one", adoption=Adoption(tmp_path / "old")))["train"] == "done"
    )
    assert states(run(*overrides, out="two", adoption=named))["train"] == "cached"
    assert states(run(*overrides, out="two"))["train"] == "cached", "adopted for good"


def test_adopted_results_stay_one_chain(run, pipeline, tmp_path):
    run(out="old")
    pipeline.edit("maths", "2 * 8", "3 * 8")
    run(out="old", selection=Selection(until="train"))
    result = run(out="new", adoption=Adoption(tmp_path / "old"))
    assert states(result) == {"prepare": "cached", "train": "cached", "evaluate": "done"}, (
        "the newest training is taken, and the older one's evaluation does not belong to it"
    )
    run(out="old")
    assert set(states(run(out="newer", adoption=Adoption(tmp_path / "old"))).values()) == {"cached"}


def test_adopting_nothing_is_an_error(pipeline, tmp_path):
    with pytest.raises(ConfigError, match="--adopt must name another run folder"):
        parse_adoption(str(tmp_path / "nowhere"), tmp_path / "out", pipeline.steps)


def test_a_lost_tracking_server_does_not_end_the_run(run, tracker, progress, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise TrackingError("tracking.uri must answer, got no connection. Start the server.")

    monkeypatch.setattr(tracker, "start_run", refuse)
    assert states(run())["evaluate"] == "done"
    assert sum("The run goes on without tracking" in line for line in progress.lines) == 1


def test_the_cluster_starts_once_and_only_for_work(pipeline, recipe_file, progress, tmp_path):
    events: list[str] = []

    def open_cluster(_settings, _root):
        events.append("opened")
        return lambda: events.append("closed")

    pipeline.services.cluster = open_cluster
    recipe = load_recipe(str(recipe_file), ["executor.kind=embedded"], pipeline.steps).recipe
    for _ in range(2):
        run_recipe(
            recipe,
            tmp_path / "out",
            progress=progress,
            services=pipeline.services,
            steps=pipeline.steps,
        )
    assert events == ["opened", "closed"]


def test_plan_names_states_reasons_and_times(run, pipeline, recipe_file, tmp_path):
    def rows(*overrides):
        recipe = load_recipe(str(recipe_file), overrides, pipeline.steps).recipe
        found = plan(recipe, RunFolder(tmp_path / "out"), steps=pipeline.steps)
        return {row.step: row for row in found}

    fresh = rows()
    assert [row.state for row in fresh.values()] == ["run", "waits", "waits"]
    assert fresh["prepare"].why == ["never run in this folder"]
    assert fresh["train"].seconds == 42.0
    assert not (tmp_path / "out").exists(), "a plan writes nothing"
    run()
    assert [row.state for row in rows().values()] == ["cached"] * 3
    changed = rows("train.gating_penalty=0.5")
    assert [row.state for row in changed.values()] == ["cached", "run", "run"]
    assert changed["train"].why == ["gating_penalty 0.2 -> 0.5"]
    assert changed["evaluate"].why == ["result of train changed"]


def test_results_that_are_not_json_are_our_bug(run, pipeline):
    pipeline.edit("evaluate", '"grid": picture', '"grid": object()')
    with pytest.raises(TypeError, match="JSON"):
        run()


def test_what_a_killed_run_was_writing_goes(run, tmp_path):
    run()
    folder = RunFolder(tmp_path / "out")
    (step,) = folder.steps.glob("train-*")
    kept = [folder.root / ".mirror.json", step / ".hidden", step / "state.tmp"]
    half = [folder.root / ".summary.json.a1b2_c3d", step / ".result.json.abcdefgh",
            step / ".report-abcdefgh.tmp"]  # fmt: skip
    for path in (*kept, *half):
        path.write_text("{")
    assert set(states(run()).values()) == {"cached"}
    assert [path.exists() for path in (*kept, *half)] == [True] * 3 + [False] * 3


@pytest.fixture
def sent(tmp_path, monkeypatch):
    """A folder that mirrors another one, which stands in for a bucket; names as they arrive."""
    out, names, upload = tmp_path / "out", [], storage.upload

    def recorded(path, uri):
        version = upload(path, uri)
        names.append(path.name)
        return version

    mirror = Mirror(out, str(tmp_path / "bucket"))
    monkeypatch.setattr(runner, "open_out", lambda _: (out, mirror))
    monkeypatch.setattr(storage, "upload", recorded)
    out.mkdir()
    return names


def test_a_marker_reaches_the_bucket_after_what_it_speaks_of(run, tmp_path, sent):
    (tmp_path / "out" / "audit.jsonl").write_text("{}")  # as the registry: beside the steps
    run()
    assert sent.index("result.json") < sent.index("_SUCCESS.json")
    assert sent.index("audit.jsonl") < sent.index("_SUCCESS.json")


def test_a_bucket_that_is_away_when_a_step_ends_does_not_end_the_run(
    run, sent, progress, monkeypatch
):
    upload, tries = storage.upload, []

    def away_at_first(path, uri):
        tries.append(path.name)
        if len(tries) == 1:
            raise StorageError("cannot write x: y. Check z.")
        return upload(path, uri)

    monkeypatch.setattr(storage, "upload", away_at_first)
    assert states(run()) == {"prepare": "done", "train": "done", "evaluate": "done"}
    assert [line for line in progress.lines if "sent there later" in line]
    assert sent.count("_SUCCESS.json") == 3
