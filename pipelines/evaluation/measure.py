"""What `evaluate` measures: distances with intervals, same-seed PSNR, milliseconds, FLOPs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nitrogen.model.row_denoiser import RowDenoiser
from nitrogen.pipelines.evaluation.claims import claims_of
from nitrogen.pipelines.evaluation.pictures import save_pictures
from nitrogen.pipelines.evaluation.residuals import reliability_of
from nitrogen.pipelines.evaluation.rows import Known, add_fid, flat, table
from nitrogen.pipelines.evaluation.samples import (
    REFERENCE_SOLVER,
    REFERENCE_STEPS,
    Bench,
    Sampled,
    sample_all,
)
from nitrogen.pipelines.metrics.bias import bias_table
from nitrogen.pipelines.metrics.bootstrap import Estimate, Interval
from nitrogen.pipelines.metrics.fid import InceptionNet
from nitrogen.pipelines.metrics.neighbours import Neighbours, nearest_training_images
from nitrogen.pipelines.metrics.psnr import same_seed
from nitrogen.pipelines.metrics.timing import Timing, paired_speedup, time_callables
from nitrogen.pipelines.precision import autocast
from nitrogen.pipelines.report.provenance import commit, machine
from nitrogen.pipelines.sampling import (
    Draws,
    OperatingPoint,
    draws,
    full_images,
    student_images,
)
from nitrogen.platform.storage_copies import local_copy, workspace

if TYPE_CHECKING:
    from nitrogen.pipelines.context import Progress
    from nitrogen.pipelines.steps.evaluate import EvaluateConfig

NUM_NEIGHBOURS = 8


def measure_models(
    config: EvaluateConfig, models: dict[str, Any], folder: str, progress: Progress
) -> dict[str, Any]:
    """`measure` of models that are loaded where this runs; `models`: arguments of `Bench.load`,
    teacher, student and folder as paths or URIs."""
    found = {name: local_copy(models[name]) for name in ("teacher", "student")}
    with workspace(folder) as directory:
        return measure(config, Bench.load(**{**models, **found}), directory, progress)


def measure(
    config: EvaluateConfig, bench: Bench, directory: Path, progress: Progress
) -> dict[str, Any]:
    """Everything that `evaluate` returns; writes samples.npz and grids into `directory`."""
    # Made first: what it lacks is told before the sampling, not after it.
    inception = InceptionNet() if config.fid else None
    drawn = draws("evaluate", config.num_images, bench.test.labels, bench.seed)
    unfinished = directory / "drawn"
    sampled = sample_all(config, bench, drawn, progress, unfinished)
    progress.message("measuring distances")
    known = Known.of(bench, config.num_images)
    found = [known.distances(one.images) for one in sampled]
    if inception is not None:
        add_fid(found, sampled, bench.train.images, inception, progress.message)
    timings = measure_time(config, bench)
    rows = table(sampled, found, timings)
    teacher, student = sampled[0], sampled[1]
    pairs = same_seed(student.images, teacher.images)
    rows[1]["psnr_db"] = pairs.intervals()["psnr_db"].to_dict()
    speedup = paired_speedup(timings["student"], timings["teacher"])
    calibration = measure_calibration(config, bench, drawn)
    bias = measure_bias(config, bench, drawn, sampled, known)
    near = neighbours_of(student, bench, known)
    by_role = {row["role"]: row for row in rows}
    saved = save_pictures(
        bench, drawn, teacher.images, student.images, student.stats, near, directory
    )
    shutil.rmtree(unfinished)
    return {
        "rows": rows,
        **{who: flat(by_role[who]) for who in ("teacher", "student", "untrained")},
        "claims": claims(bench, rows, sampled, found, speedup),
        "speedup": speedup.to_dict(),
        "commit": commit(),
        "neighbours": near.to_dict(),
        "bias": bias,
        "calibration": calibration,
        "operating_point": bench.point.model_dump(mode="json"),
        **saved,
    }


def claims(
    bench: Bench,
    rows: list[dict[str, Any]],
    sampled: Sequence[Sampled],
    found: Sequence[Mapping[str, Estimate]],
    speedup: Interval,
) -> list[dict[str, Any]]:
    """The table of claims of these rows; see `claims_of`."""
    return claims_of(
        rows,
        {one.role: estimates for one, estimates in zip(sampled, found, strict=True)},
        sampled[1].gflops,
        speedup,
        split_sizes={"train": len(bench.train), "test": len(bench.test)},
        where=f"{machine()}; {bench.device}, {bench.precision}",
    )


def neighbours_of(student: Sampled, bench: Bench, known: Known) -> Neighbours:
    """The training pictures nearest to the student's first samples."""
    return nearest_training_images(
        student.images[:NUM_NEIGHBOURS], bench.train.images, known.extract,
        training_features=known.train, held_out_features=known.test,
    )  # fmt: skip


def measure_bias(
    config: EvaluateConfig, bench: Bench, drawn: Draws, sampled: Sequence[Sampled], known: Known
) -> dict[str, Any]:
    """Classes and colours of the data, the teacher, and the student, full and adaptive."""
    teacher, student = sampled[0], sampled[1]
    point = OperatingPoint(
        policy="full", num_inference_steps=config.num_inference_steps, solver=config.solver
    )
    with autocast(bench.device, bench.precision):  # with its relay, as the adaptive one has it
        full, _ = student_images(bench.student, point, drawn)
    drawn_by = {
        "teacher": teacher.images,
        "student, full": full,
        "student, adaptive": student.images,
    }
    return bias_table(
        {name: (images, known.extract(images)) for name, images in drawn_by.items()},
        (bench.train.images, known.train, bench.train.labels),
        (known.test, bench.test.labels),
        bench.train.classes,
    )


def measure_calibration(
    config: EvaluateConfig, bench: Bench, drawn: Draws
) -> dict[str, Any] | None:
    """The reliability curve of the predicted residual at the chosen point's steps; see
    reliability_of. The teacher answers by the operators that the student runs on."""
    few = Draws(drawn.labels[: config.num_calibration], drawn.seeds[: config.num_calibration])
    teacher = RowDenoiser(bench.teacher.denoiser, cpp_only=True)
    with autocast(bench.device, bench.precision):
        return reliability_of(
            bench.student, teacher, few, bench.point.num_inference_steps, bench.point.solver
        )


def measure_time(config: EvaluateConfig, bench: Bench) -> dict[str, Timing]:
    """Milliseconds a picture at batch 1, paired in one run: teacher, student, DDIM reference."""
    one = draws("show", 1, bench.test.labels, bench.seed)
    teacher, steps = bench.teacher.denoiser, config.num_inference_steps
    methods = {
        "teacher": lambda: full_images(teacher, one, steps, config.solver),
        "student": lambda: student_images(bench.student, bench.point, one),
        "reference": lambda: full_images(teacher, one, REFERENCE_STEPS, REFERENCE_SOLVER),
    }
    with autocast(bench.device, bench.precision):
        return time_callables(methods, repeats=config.num_timings)
