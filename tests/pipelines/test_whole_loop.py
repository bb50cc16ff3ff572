"""The demo's recipe on somebody else's pictures: other sizes, grey, three classes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SHORT = {
    "executor.kind": "local",
    "prepare.image_size": "16",
    "pretrain.arch": "{channels: [16, 32], num_blocks: [1, 1], head_channels: 16}",
    "pretrain.optim.num_images": "3200",
    "distill.optim.num_images": "640",
    "sweep.num_trials": "1",
    "sweep.num_images": "8",
    "sweep.optim.num_images": "320",
    "sweep.thresholds": "[0.001]",
    "sweep.full_steps": "[4, 12]",
    "evaluate.num_images": "32",
    "evaluate.num_reference": "16",
    "evaluate.num_timings": "3",
}


def nitrogen(*arguments):
    command = [sys.executable, "-m", "nitrogen.pipelines.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=560, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


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


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_same_recipe_with_other_pictures(pictures, tmp_path):
    folder = tmp_path / "a run"
    changes = [f"--set={name}={value}" for name, value in SHORT.items()]
    run = ["run", "demo", "--out", folder, f"--set=prepare.source={pictures}", *changes]
    printed = nitrogen(*run)
    summary = json.loads((folder / "summary.json").read_text())
    assert printed.strip().splitlines()[-1] == str(folder / "summary.json")
    assert summary["status"] == "finished"
    # Fewer pictures than feature dimensions: KID alone, never a Frechet distance.
    assert summary["student"]["fd_lite0"] is None
    assert summary["student"]["gflops"] < summary["teacher"]["gflops"]
    assert summary["champion"]["version"] == "1"
    assert "/v1/images/generations" in summary["request"]
    assert Path(summary["report"]).is_file()
    prepared = folder / "steps" / f"prepare-{summary['steps']['prepare']['key'][:12]}"
    manifest = json.loads((prepared / "data" / "manifest.json").read_text())
    assert manifest["num_classes"] == 3
    assert [broken["key"] for broken in manifest["broken"]] == ["slow/broken.png"]

    nitrogen(*run)
    again = json.loads((folder / "summary.json").read_text())
    assert {row["state"] for row in again["steps"].values()} == {"cached"}

    out = tmp_path / "x.png"
    told = json.loads(
        nitrogen(
            "generate", "--run", folder, "--class", "fast", "--seed", 3, "--steps", 6,
            "--policy", "budget", "--budget", 0.5, "--out", out, "--json",
        )
    )  # fmt: skip
    assert told["gflops"] <= 0.5 * told["gflops_full"]
    assert {"ms", "steps", "active_fraction", "heatmap"} <= told.keys()
    with Image.open(out) as picture:
        assert picture.size == (16, 16)

    nitrogen(*run, "--set=distill.student.strided=true", "--until", "evaluate")
    strided = json.loads((folder / "summary.json").read_text())["steps"]
    assert [strided[step]["state"] for step in ("prepare", "pretrain")] == ["cached", "cached"]
    chosen = folder / "steps" / f"sweep-{strided['sweep']['key'][:12]}" / "student"
    assert json.loads((chosen / "config.json").read_text())["arch"]["strided"] is True
