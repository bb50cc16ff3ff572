"""kill -9 of a whole run in each of its steps, and run again: nothing is lost, repeated or half.

The run is of somebody else's pictures: other sizes, grey, three classes, one of them broken.
"""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nitrogen.platform.audit import AuditLog
from nitrogen.platform.registry import Registry
from nitrogen.platform.training_journal import JOURNAL_NAME, read_events

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

NUM_IMAGES = {"pretrain": 1600, "distill": 800}
CHANGES = [
    f"--set={change}" for change in (
        # Trainings in the run's own process; test_kill_ray.py kills those of Ray's workers.
        "executor.kind=local", "prepare.image_size=16", "executor.precision=fp32",
        "pretrain.arch={channels: [16, 32], num_blocks: [1, 1], head_channels: 16}",
        f"pretrain.optim.num_images={NUM_IMAGES['pretrain']}", "pretrain.optim.batch_size=8",
        "pretrain.optim.checkpoint_interval_s=0.5",
        f"distill.optim.num_images={NUM_IMAGES['distill']}", "distill.optim.batch_size=8",
        "distill.optim.checkpoint_interval_s=0.5",
        "sweep.num_trials=1", "sweep.num_images=8", "sweep.optim.num_images=320",
        "sweep.thresholds=[0.001]", "sweep.full_steps=[4, 12]", "sweep.reference_steps=4",
        "evaluate.num_images=32", "evaluate.num_reference=16", "evaluate.num_timings=3",
        "promote.gates=[{metric: compute_ratio, op: <=, bound: 1.0}]",
    )
]  # fmt: skip
# Runs `nitrogen` until it would call the function of that import path, says so, and waits there.
STOP_BEFORE = """
import importlib, pathlib, sys, threading
module, _, path = sys.argv[1].partition(":")
here = pathlib.Path(sys.argv[2])
owner = importlib.import_module(module)
*parents, name = path.split(".")
for parent in parents:
    owner = getattr(owner, parent)
def stop(*arguments, **options):
    here.touch()
    threading.Event().wait()
setattr(owner, name, stop)
sys.argv[1:] = sys.argv[3:]
from nitrogen.pipelines.cli import main
main()
"""
CLI = "from nitrogen.pipelines.cli import main; main()"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Three classes of grey pictures of different sizes; one file is broken."""
    root = tmp_path_factory.mktemp("grey pictures")
    generator = np.random.default_rng(0)
    for name, frequency in (("slow", 1), ("middle", 2), ("fast", 4)):
        (root / name).mkdir()
        for index in range(14):
            height, width = generator.integers(20, 60, 2)
            wave = np.sin(np.arange(width) * frequency / 5 + index)
            pixels = np.broadcast_to(127 + 120 * wave, (height, width)).astype(np.uint8)
            Image.fromarray(pixels, "L").save(root / name / f"{index}.png")
    (root / "slow" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return root


@pytest.fixture(scope="module")
def recipe(pictures):
    return ["run", "demo", f"--set=prepare.source={pictures}", *CHANGES]


@pytest.fixture(scope="module")
def nitrogen(warm, tmp_path_factory):
    """The command line to its end; what it printed."""
    folder = tmp_path_factory.mktemp("printed")

    def call(*arguments):
        printed = folder / str(len(list(folder.iterdir())))
        warm.start(CLI, [str(argument) for argument in arguments], printed)
        code, text = warm.wait(), printed.read_text()
        assert code == 0, text[-3000:]
        return text

    return call


@pytest.fixture(scope="module")
def whole(recipe, nitrogen, tmp_path_factory):
    """An undisturbed run, as far as there are numbers that a second one must repeat."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    nitrogen(*recipe, "--out", folder, "--until", "sweep")
    return folder


@pytest.fixture
def killed(warm, recipe, tmp_path, kill_tree):
    """Starts the run, kills all its processes once something is to be seen, as a function."""

    def run(code, folder, seen, *arguments):
        printed = tmp_path / "printed"
        pid = warm.start(code, [*arguments, *recipe, "--out", str(folder)], printed)
        deadline = time.monotonic() + 400
        while not seen() and Path(f"/proc/{pid}/exe").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        kill_tree(pid)
        assert warm.wait() == -9, printed.read_text()[-3000:]

    return run


def kill_before(killed, folder, function):
    here = folder.parent / "here"
    here.unlink(missing_ok=True)
    killed(STOP_BEFORE, folder, here.exists, function, str(here))
    assert here.exists(), f"{function} was never called"


def kill_training(killed, folder, step):
    """Between its first checkpoint and its end."""

    def events():
        journals = (folder / "steps").glob(f"{step}-*/training/**/{JOURNAL_NAME}")
        return [event for path in journals for event in read_events(path)]

    killed(CLI, folder, lambda: any(event["checkpoint"] for event in events()))
    images = [event["metrics"]["images"] for event in events()]
    assert images, f"{step} never began"
    assert 0 < max(images) < NUM_IMAGES[step], "killed in its middle"


def finished(folder):
    """The steps that count as done."""
    markers = (folder / "steps").glob("*/_SUCCESS.json")
    return {json.loads(path.read_text())["step"] for path in markers}


def weights(folder, step, name):
    (path,) = (folder / "steps").glob(f"{step}-*/{name}/model.safetensors")
    return path.read_bytes()


def registered(folder):
    """Numbers of the versions, the aliases, and the events of the audit."""
    registry = Registry(f"sqlite:///{folder}/mlflow.db")
    audit = AuditLog(folder / "audit.jsonl")
    audit.check()
    versions = [known.version for known in registry.versions("emoji-demo")]
    events = [record["event"] for record in audit.read()]
    return versions, registry.aliases("emoji-demo"), events


def test_each_step_is_killed_once(whole, killed, recipe, nitrogen, tmp_path):
    folder = tmp_path / "run"
    for step in ("pretrain", "distill"):
        kill_training(killed, folder, step)
        assert step not in finished(folder)
    kill_before(killed, folder, "nitrogen.pipelines.evaluation.measure:measure_time")
    for step, made in (("pretrain", "teacher"), ("distill", "student"), ("sweep", "student")):
        assert weights(folder, step, made) == weights(whole, step, made), step
    assert "evaluate" not in finished(folder)

    # The files are uploaded, no version names them yet.
    kill_before(killed, folder, "mlflow.tracking:MlflowClient.create_model_version")
    assert registered(folder) == ([], {}, [])
    # The champion has moved, its record is not written yet.
    kill_before(killed, folder, "nitrogen.platform.audit:AuditLog.append")
    assert registered(folder) == (["1"], {"champion": "1"}, [])
    # All is done but the step's own marker.
    kill_before(killed, folder, "nitrogen.pipelines.run_folder:RunFolder.finish")
    once = (["1"], {"champion": "1"}, ["promoted"])
    assert registered(folder) == once
    assert "promote" not in finished(folder)

    # The endpoint is up.
    kill_before(killed, folder, "nitrogen.platform.serving.smoke:smoke_check")
    # The page is written beside its place, and not yet there.
    kill_before(killed, folder, "pathlib:Path.chmod")
    assert finished(folder) == {
        "prepare", "pretrain", "distill", "sweep", "evaluate", "promote", "serve",
    }  # fmt: skip
    assert not list((folder / "steps").glob("report-*/report.html"))
    # Every step is done, the summary still tells of an earlier run.
    kill_before(killed, folder, "nitrogen.pipelines.runner:write_summary")

    printed = nitrogen(*recipe, "--out", folder)
    assert printed.strip().splitlines()[-1] == str(folder / "summary.json")
    told = json.loads((folder / "summary.json").read_text())
    assert {row["state"] for row in told["steps"].values()} == {"cached"}
    assert registered(folder) == once
    assert told["status"] == "finished"
    assert told["champion"]["version"] == "1"
    assert "/v1/images/generations" in told["request"]
    with open(told["report"], encoding="utf-8") as page:
        assert page.read().rstrip().endswith("</html>")
    half = [path.name for path in folder.rglob(".*") if path.suffix not in ("", ".lock")]
    assert not half
    promoted = next((folder / "steps").glob("promote-*/result.json"))
    assert "compute_ratio" in json.loads(promoted.read_text())["gates"][0]
    # Fewer pictures than feature dimensions: KID alone, never a Frechet distance.
    assert told["student"]["fd_lite0"] is None
    assert told["student"]["gflops"] < told["teacher"]["gflops"]
    prepared = folder / "steps" / f"prepare-{told['steps']['prepare']['key'][:12]}"
    manifest = json.loads((prepared / "data" / "manifest.json").read_text())
    assert manifest["num_classes"] == 3
    assert [broken["key"] for broken in manifest["broken"]] == ["slow/broken.png"]
    generate(nitrogen, folder)


def generate(nitrogen, folder):
    """What one does with a run: a picture of it."""
    out = folder.parent / "x.png"
    printed = nitrogen(
        "generate", "--run", folder, "--class", "fast", "--seed", 3, "--steps", 6,
        "--policy", "budget", "--budget", 0.5, "--out", out, "--json",
    )  # fmt: skip
    told = json.loads(printed)
    assert told["gflops"] <= 0.5 * told["gflops_full"]
    assert {"ms", "steps", "active_fraction", "heatmap"} <= told.keys()
    with Image.open(out) as picture:
        assert picture.size == (16, 16)
