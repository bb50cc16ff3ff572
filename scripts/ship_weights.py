"""Packs the weights of a long training into the package, with what made them.

    .venv/bin/python scripts/ship_weights.py --run runs/emoji32 --recipe emoji32
    .venv/bin/python scripts/ship_weights.py --run runs/fashion --recipe fashion --data data/fashion

Reads the newest checkpoints of the run's pretrain and distill steps (or of --teacher and
--student, folders of trainings; without --run and --teacher the teacher stays), and writes
pipelines/weights/<recipe>/: teacher and student as fp16 safetensors (the averaged weights) with the
prices of the student's compute and its schedules of widths, the recipe, the losses, and a grid of
samples. The schedules are searched on the validation split, --moves changes for each number of
steps and budget; none are shipped for 0.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from nitrogen.model.config import ArchConfig
from nitrogen.model.config_file import CONFIG
from nitrogen.model.model_directory import LATE_WEIGHTS
from nitrogen.model.model_directory import WEIGHTS as TEACHER_FILE
from nitrogen.model.pipeline import Pipeline
from nitrogen.model.prices import measure_prices, priced
from nitrogen.model.weights import load_tensors
from nitrogen.model.width_table import WidthTable
from nitrogen.pipelines.bench.models import TUNE_SPLIT, pictures
from nitrogen.pipelines.bench.width_search import WidthSearch, teacher_pictures
from nitrogen.pipelines.data.loader import ShardDataset
from nitrogen.pipelines.recipe import load_recipe, shipped_recipes
from nitrogen.pipelines.report.data import LabelledImages
from nitrogen.pipelines.report.samples_file import save_grid
from nitrogen.pipelines.sampling import draws
from nitrogen.pipelines.steps.distill import DistillConfig, relay_of, save_student
from nitrogen.pipelines.steps.pretrain import save_teacher
from nitrogen.pipelines.training.config import StudentConfig
from nitrogen.pipelines.training.preview import tile_grid
from nitrogen.pipelines.training.state import TENSORS
from nitrogen.platform.training_checkpoints import newest_checkpoint

WEIGHTS = Path(__file__).parent.parent / "pipelines" / "weights"
MAX_BYTES = 10_000_000
LOG_STRIDE = 20
NUM_TUNE = 48  # seeds of the validation split
REPORTED = "emoji32"  # whose pictures the report of any run shows
GRID_SEED, GRID_STEPS, GRID_GUIDANCE = 100, 8, 2.0


def training_folder(run: Path, step: str) -> Path:
    """The folder of a step's training in a run folder."""
    found = sorted((run / "steps").glob(f"{step}-*/training"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise SystemExit(f"error: --run must hold a {step} step, got none in {run}.")
    return found[-1]


def checkpoint_of(training: Path) -> Path:
    newest = newest_checkpoint(training / "checkpoints")
    if newest is None:
        ray_made = sorted(path for path in training.rglob("checkpoint_*") if path.is_dir())
        newest = ray_made[-1] if ray_made else None
    if newest is None:
        raise SystemExit(f"error: a training must hold a checkpoint, got none in {training}.")
    return newest


def architecture(training: Path) -> dict[str, Any]:
    """Of arch.json in the training's folder, or of the model that its step saved."""
    own = training / "arch.json"
    if own.exists():
        return json.loads(own.read_text())
    return json.loads((training.parent / "teacher" / CONFIG).read_text())["arch"]


def is_strided(checkpoint: Path) -> bool:
    return any("w_stride" in name for name in load_tensors(checkpoint / TENSORS))


def half(
    directory: Path, checkpoint: Path, searched: Callable[[Pipeline], WidthTable] | None = None
) -> None:
    """The same model directory in fp16, with how far its training was, a student's prices, and
    the schedules that are searched for it."""
    pipeline = Pipeline.load(directory)
    if pipeline.predictor is not None:
        pipeline.prices = measure_prices(pipeline.denoiser, pipeline.predictor)
        if pipeline.relay is not None:
            pipeline.relay = priced(pipeline.relay, pipeline.denoiser, pipeline.predictor)
    if searched is not None:
        pipeline.schedules = searched(pipeline)
    facts = json.loads((checkpoint / "state.json").read_text())
    shutil.rmtree(directory)
    pipeline.save(directory, torch.float16, **facts)
    (directory / LATE_WEIGHTS).unlink(missing_ok=True)  # the teacher's, which lies beside it


def schedules(student: Pipeline, teacher: Path, data: str, num_moves: int) -> WidthTable:
    """Searched on seeds of the validation split against the teacher's pictures."""
    labels = pictures(data, TUNE_SPLIT, student.image_size)[1]
    drawn = draws("sweep", NUM_TUNE, labels, 0)
    target = teacher_pictures(Pipeline.load(teacher), drawn)
    return WidthSearch(student, drawn, target, num_moves, print).table()


def thin_log(training: Path, out: Path) -> None:
    rows = [json.loads(line) for line in next(training.rglob("progress.jsonl")).open()]
    kept = [row["metrics"] for row in rows[::LOG_STRIDE] + rows[-1:]]
    out.write_text("".join(json.dumps(row) + "\n" for row in kept))


def draw_grid(out: Path, pipeline: Pipeline) -> None:
    """Two pictures of each class, seeds from GRID_SEED on, and those of REPORTED for the report."""
    num = len(pipeline.classes)
    labels = list(range(num)) * 2
    seeds = [GRID_SEED + i for i in range(len(labels))]
    made = pipeline.generate(
        labels, seeds, num_inference_steps=GRID_STEPS, policy="full", guidance_scale=GRID_GUIDANCE
    )
    caption = (
        f"Shipped weights ({out.name}), full width, {GRID_STEPS} steps, guidance "
        f"{GRID_GUIDANCE:g}, seeds from {GRID_SEED} on, none left out"
    )
    images = made.images.numpy()
    if out.name == REPORTED:
        grid = LabelledImages(images[:num], [pipeline.classes[i] for i in labels[:num]], caption)
        save_grid(WEIGHTS / "samples.npz", grid)
    columns = -(-num // 2)
    x_0 = torch.as_tensor(images).float() / 127.5 - 1
    tile_grid(x_0, columns, 2).save(out / "samples.png")


def ship_teacher(training: Path, data: str, out: Path) -> None:
    """The teacher's weights and log, into a folder that holds nothing else yet."""
    state = checkpoint_of(training)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    classes = list(ShardDataset(data, "test").classes)
    save_teacher(ArchConfig(**architecture(training)), classes, state, out)
    (out / "samples.png").unlink(missing_ok=True)
    half(out / "teacher", state)
    thin_log(training, out / "teacher-log.jsonl")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, help="run folder of a recipe")
    parser.add_argument("--teacher", type=Path, help="folder of the teacher's training")
    parser.add_argument("--student", type=Path, help="folder of the student's training")
    parser.add_argument("--recipe", required=True, help="shipped recipe that made them")
    parser.add_argument("--data", default="bundled:emoji", help="prepared data set of the run")
    parser.add_argument("--moves", type=int, default=24, help="of the search for schedules")
    given = parser.parse_args()
    if not (given.run or given.student):
        raise SystemExit("error: --run or --student must name a training, got neither.")
    student = given.student or training_folder(given.run, "distill")
    state = checkpoint_of(student)  # before anything is replaced
    config = StudentConfig(strided=is_strided(state))
    relay = relay_of(cast(DistillConfig, load_recipe(given.recipe).recipe.section("distill")))
    if relay and not config.strided:
        raise SystemExit("error: a student with a relay must be strided, got one that is not.")
    out = WEIGHTS / given.recipe
    if given.teacher or given.run:
        ship_teacher(given.teacher or training_folder(given.run, "pretrain"), given.data, out)
    described = json.loads((out / "teacher" / CONFIG).read_text())
    shutil.rmtree(out / "student", ignore_errors=True)
    save_student(described, config, state, out / "student", relay, out / "teacher" / TEACHER_FILE)
    search = partial(schedules, teacher=out / "teacher", data=given.data, num_moves=given.moves)
    half(out / "student", state, search if given.moves > 0 else None)
    thin_log(student, out / "student-log.jsonl")
    shutil.copyfile(shipped_recipes()[given.recipe], out / "recipe.yaml")
    draw_grid(out, Pipeline.load(out / "student"))
    size = sum(path.stat().st_size for path in out.rglob("*.safetensors"))
    if size > MAX_BYTES:
        raise SystemExit(f"error: weights must be at most {MAX_BYTES} bytes, got {size}.")
    print(f"{out}: {size / 1e6:.2f} MB of weights")


if __name__ == "__main__":
    main()
