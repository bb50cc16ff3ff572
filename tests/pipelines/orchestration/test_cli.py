"""The command line as a user meets it: output, errors in one sentence, exit codes, start-up."""

from __future__ import annotations

import json
import os
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from nitrogen.pipelines import cli, runner
from nitrogen.pipelines.step_table import STEPS


@pytest.fixture
def fake(pipeline, monkeypatch):
    """The command line over the fake steps."""
    shipped = dict(STEPS)
    STEPS.clear()
    STEPS.update(pipeline.steps)
    monkeypatch.setattr(runner, "Services", lambda: pipeline.services)
    yield pipeline
    STEPS.clear()
    STEPS.update(shipped)


@pytest.fixture
def nitrogen(fake, recipe_file, monkeypatch, capsys):
    """Runs a command line in the recipe's folder; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(recipe_file.parent)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.invoke(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_run_prints_the_summary_path_last(nitrogen, tmp_path):
    code, out, err = nitrogen("run", "tiny.yaml", "--out", "a folder/run")
    assert code == 0
    last = out.splitlines()[-1]
    assert last == str(tmp_path / "a folder/run/summary.json")
    assert json.loads(Path(last).read_text())["steps"]["train"]["state"] == "done"
    assert "[2/3] train started" in err, "plain progress lines where stderr is no terminal"
    typed = [shlex.split(line) for line in out.splitlines() if "--backend-store-uri" in line]
    assert Path(typed[0][1]).name == "mlflow", "it pastes, spaces and all"
    assert typed[0][2:4] == ["ui", "--backend-store-uri"]


def test_run_json_is_the_summary(nitrogen):
    code, out, _ = nitrogen("run", "tiny.yaml", "--json")
    assert code == 0
    assert json.loads(out)["recipe"] == "tiny"
    assert Path("runs/tiny/summary.json").is_file(), "the default folder is runs/RECIPE"


def test_plan_runs_nothing(nitrogen, fake):
    code, out, _ = nitrogen("run", "tiny.yaml", "--plan")
    assert code == 0
    assert "never run in this folder" in out
    assert not Path("runs").exists()
    nitrogen("run", "tiny.yaml")
    rows = json.loads(nitrogen("run", "tiny.yaml", "--plan", "--json")[1])["steps"]
    assert [row["state"] for row in rows] == ["cached"] * 3
    rows = json.loads(nitrogen("run", "tiny.yaml", "--plan", "--json", "--from", "evaluate")[1])[
        "steps"
    ]
    assert rows[2] == {**rows[2], "state": "run", "why": ["asked to run again"]}


def test_config_show(nitrogen):
    code, out, _ = nitrogen("config", "show", "tiny.yaml", "--set", "seed=3")
    assert code == 0
    assert any(line.startswith("seed: 3") and line.endswith("# --set") for line in out.splitlines())
    assert "gating_penalty: 0.2" in out
    shown = json.loads(nitrogen("config", "show", "tiny.yaml", "--json")[1])
    assert shown["origins"]["train.learning_rate"] == "default"
    assert shown["recipe"]["train"]["learning_rate"] == 1e-3


def test_config_schema(nitrogen):
    schema = json.loads(nitrogen("config", "schema")[1])
    assert "train" in schema["properties"]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("run", "none"), 2, "error: recipe must be a YAML file or a shipped name, got none."),
        (("run", "tiny.yaml", "--set", "train.lr=1"), 2, "error: train.lr must be a known key"),
        (("run", "tiny.yaml", "--until", "x"), 2, "error: step must be one of prepare"),
        (("run", "tiny.yaml", "--adopt", "x"), 2, "error: --adopt must name another run folder"),
        (("run", "tiny.yaml", "--set", "train.mode=nan"), 10, "error: loss must be finite"),
        (("run", "tiny.yaml", "--out", "/proc/x"), 4, "error: --out must be a folder that can be"),
        (("status", "nowhere"), 2, "error: RUN must be a run folder, got nowhere."),
        (("stop", "nowhere"), 2, "error: RUN must be a run folder"),
        (("generate", "--run", "nowhere"), 2, "error: --run must be the folder of a run"),
        (("run",), 2, "Missing argument"),
        (("unknown",), 2, "No such command"),
    ],
)
def test_mistakes_are_sentences_with_exit_codes(nitrogen, arguments, code, sentence):
    got, out, err = nitrogen(*arguments)
    assert got == code
    assert sentence in err
    assert "Traceback" not in err
    assert out == ""


def test_a_bug_leaves_its_traceback_in_a_file(nitrogen, fake, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("MY_PASSWORD", "hunter2hunter2")
    fake.edit(
        "evaluate", "row = dict(", "raise ZeroDivisionError('hunter2hunter2')\n    row = dict("
    )
    code, _, err = nitrogen("run", "tiny.yaml")
    assert code == 70
    assert "unexpected failure (ZeroDivisionError" in err
    assert "hunter2" not in err
    log = next((tmp_path / "state/nitrogen").glob("error-*.log"))
    assert str(log) in err
    assert "Traceback" in log.read_text()
    assert "hunter2" not in log.read_text()


def test_status_logs_and_stop_of_a_finished_run(nitrogen):
    nitrogen("run", "tiny.yaml")
    code, out, _ = nitrogen("status", "--json")
    status = json.loads(out)
    assert code == 0
    assert status["state"] == "finished"
    assert status["pid"] is None
    assert status["steps"]["train"]["state"] == "done"
    assert "finished" in nitrogen("status", "runs/tiny")[1]
    assert "train done" in nitrogen("logs", "runs/tiny", "-f")[1]
    assert len(nitrogen("logs", "--tail", "2")[1].splitlines()) == 2
    told = [json.loads(line)["line"] for line in nitrogen("logs", "--json")[1].splitlines()]
    assert told == nitrogen("logs")[1].splitlines()
    code, _, err = nitrogen("stop")
    assert code == 2
    assert "There is nothing to stop" in err


def test_a_cached_step_says_what_it_took_when_it_ran(nitrogen, fake):
    nitrogen("run", "tiny.yaml")
    first = json.loads(nitrogen("status", "--json")[1])["steps"]["train"]
    marker = next(Path("runs/tiny/steps").glob("train-*/_SUCCESS.json"))
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"seconds": 212.4}))
    nitrogen("run", "tiny.yaml")
    assert first["took_s"] == pytest.approx(first["seconds"], abs=1e-3)
    again = json.loads(nitrogen("status", "--json")[1])["steps"]["train"]
    assert (again["state"], again["seconds"], again["took_s"]) == ("cached", 0.0, 212.4)
    assert "cached (took 212 s)" in nitrogen("status")[1]
    summary = json.loads(Path("runs/tiny/summary.json").read_text())["steps"]["train"]
    assert (summary["seconds"], summary["took_s"]) == (0.0, 212.4)


def test_completion_of_classes_reads_the_run_and_says_nothing_when_it_cannot(
    nitrogen, tmp_path, monkeypatch
):
    from types import SimpleNamespace

    from nitrogen.pipelines import trained_models
    from nitrogen.pipelines.commands import completion

    asked = []

    def directory(run):
        asked.append(run)
        return tmp_path

    monkeypatch.setattr(trained_models, "model_directory", directory)
    arch = {"num_classes": 2}
    content = {"arch": arch, "classes": ["a cat", "an owl"], "predictor": True}
    (tmp_path / "config.json").write_text(json.dumps(content))
    (tmp_path / "run").mkdir()
    here = SimpleNamespace(params={"run": str(tmp_path / "run")})
    assert completion.classes(here, "a ") == ["a cat"]
    assert asked == [tmp_path / "run"]
    assert completion.classes(SimpleNamespace(params={"run": "s3://bucket/run"}), "") == []
    (tmp_path / "config.json").write_text("{}")
    assert completion.classes(SimpleNamespace(params={}), "") == []


def test_status_of_a_failed_run_shows_the_error(nitrogen):
    nitrogen("run", "tiny.yaml", "--set", "train.mode=nan")
    out = nitrogen("status")[1]
    assert "failed" in out
    assert "loss must be finite" in out


def test_generate_without_weights_in_the_run(nitrogen):
    nitrogen("run", "tiny.yaml")
    code, _, err = nitrogen("generate", "--run", "runs/tiny")
    assert code == 3
    assert "must hold a student" in err


def every_command() -> list[list[str]]:
    import typer

    def walk(command, path):
        inner = getattr(command, "commands", None)
        if not inner:
            yield path
        else:
            for name, child in inner.items():
                yield from walk(child, [*path, name])

    return list(walk(typer.main.get_command(cli.app), []))


def test_all_commands_are_there():
    names = {" ".join(path) for path in every_command()}
    wanted = "run submit status logs stop train distill sweep evaluate promote rollback serve"
    assert names >= {*wanted.split(), "generate", "report", "model show", "config show", "doctor"}
    assert names >= {"data prepare", "data classes", "data describe"}


@pytest.mark.parametrize("path", every_command(), ids=" ".join)
def test_every_help_has_an_example(path, capsys):
    assert cli.invoke([*path, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"Example: nitrogen {' '.join(path)}" in " ".join(out.split())


def test_every_command_takes_json():
    import typer

    for path in every_command():
        command = typer.main.get_command(cli.app)
        for name in path:
            command = command.commands[name]
        options = {option for parameter in command.params for option in parameter.opts}
        assert "--json" in options or path == ["config", "schema"], path  # which is JSON anyway


def test_events_of_serve_are_lines_of_json(monkeypatch, capsys):
    from nitrogen.pipelines import foreground

    def serve(run, *, host, port, max_replicas, say):
        say("m version 1 answers at http://x", event="ready", url="http://x", version="1")
        say("Ctrl-C stops it.")

    monkeypatch.setattr(foreground, "serve_foreground", serve)
    assert cli.invoke(["serve", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["url"] == "http://x"
    assert cli.invoke(["serve"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Ctrl-C stops it."


def test_start_up_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys; from nitrogen.pipelines import cli; cli.invoke(['--help']); "
        "heavy = {'torch', 'ray', 'mlflow', 'numpy', 'PIL', 'matplotlib', 'pyarrow', 'boto3'}; "
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stderr.strip() == "[]"
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert seconds < 1.5, "0.2 s alone; processor time, for the machine may be busy"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("nitrogen ro", "rollback"),
        ("nitrogen run scen", "scenes64"),
        ("nitrogen run demo --from ev", "evaluate"),
        ("nitrogen run demo --until prom", "promote"),
        ("nitrogen generate --policy thr", "threshold"),
        ("nitrogen generate --solver un", "unipc"),
        ("nitrogen generate --class flags/n", "flags/noto"),
        ("nitrogen generate --run runs/d", "runs/demo"),
        ("nitrogen status ru", "runs/demo"),
        ("nitrogen rollback --run elsewhere/o", "elsewhere/one"),
        ("nitrogen model show --preset b", "base"),
    ],
)
def test_completion_knows_commands_and_values(words, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for run in ("runs/demo", "elsewhere/one", "elsewhere/no-run"):
        Path(run).mkdir(parents=True)
        if run != "elsewhere/no-run":
            Path(run, "journal.jsonl").touch()
    environment = os.environ | {
        "_NITROGEN_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-m", "nitrogen.pipelines.cli"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == [expected]
