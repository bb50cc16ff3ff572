"""What `evaluate` measures: distances with intervals, same-seed PSNR, milliseconds, FLOPs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nitrogen.model.denoiser import Denoiser
from nitrogen.model.pipeline import Pipeline, SampleStats
from nitrogen.pipelines.data.loader import ShardDataset
from nitrogen.pipelines.evaluation.claims import claims_of
from nitrogen.pipelines.evaluation.pictures import save_pictures
from nitrogen.pipelines.metrics.bias import bias_table
from nitrogen.pipelines.metrics.bootstrap import Estimate
from nitrogen.pipelines.metrics.features import FeatureNet
from nitrogen.pipelines.metrics.frechet import Gaussian, fit_gaussian, frechet_estimate
from nitrogen.pipelines.metrics.kernel import kernel_distance
from nitrogen.pipelines.metrics.neighbours import nearest_training_images
from nitrogen.pipelines.metrics.psnr import same_seed
from nitrogen.pipelines.metrics.timing import Timing, paired_speedup, time_callables
from nitrogen.pipelines.precision import autocast, check_device
from nitrogen.pipelines.report.provenance import commit, machine
from nitrogen.pipelines.sampling import (
    Draws,
    OperatingPoint,
    dense_gflops,
    dense_images,
    draws,
    mean,
    student_images,
)
from nitrogen.platform.storage_copies import local_copy, workspace

if TYPE_CHECKING:
    from nitrogen.pipelines.context import Progress
    from nitrogen.pipelines.steps.evaluate import EvaluateConfig

REFERENCE_STEPS, REFERENCE_SOLVER = 50, "euler"
NUM_NEIGHBOURS = 8


@dataclass(frozen=True)
class Bench:
    """The models and pictures of one evaluation."""

    teacher: Pipeline
    student: Pipeline
    untrained: Denoiser
    point: OperatingPoint
    train: ShardDataset
    test: ShardDataset
    digest: str
    seed: int
    device: str = "cpu"
    precision: str = "fp32"  # of sampling

    @classmethod
    def load(
        cls, *, data_uri: str, digest: str, teacher: Path, student: Path,
        chosen: dict[str, Any], seed: int, device: str = "cpu", precision: str = "fp32",
    ) -> Bench:  # fmt: skip
        """Raises WeightsError or DataError for what cannot be read, ConfigError for a device that
        is not there."""
        import torch

        teacher_pipeline = Pipeline.load(teacher).to(check_device(device))
        torch.manual_seed(seed)
        return cls(
            teacher_pipeline,
            Pipeline.load(student).to(device),
            Denoiser(teacher_pipeline.arch).eval().requires_grad_(False).to(device),
            OperatingPoint(**chosen),
            ShardDataset(data_uri, "train"),
            ShardDataset(data_uri, "test"),
            digest,
            seed,
            device,
            precision,
        )


@dataclass(frozen=True)
class Sampled:
    """A method's pictures uint8 [n, h, w, 3] and its GFLOPs for each."""

    name: str
    role: str
    images: np.ndarray
    gflops: list[float]
    gflops_full: float
    num_steps: int
    note: str = ""
    stats: Sequence[SampleStats] = ()  # of each picture, for adaptive methods


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
    drawn = draws("evaluate", config.num_images, bench.test.labels, bench.seed)
    sampled = sample_all(config, bench, drawn, progress)
    progress.message("measuring distances")
    features = FeatureNet()
    train_features, test_features = features(bench.train.images), features(bench.test.images)
    # Fitted once: the factor of a 1,280-dimensional covariance takes seconds.
    enough = min(config.num_images, len(train_features)) >= train_features.shape[1]
    fitted = fit_gaussian(train_features) if enough else None
    found = [distances(s, features, train_features, fitted, test_features) for s in sampled]
    if config.fid:
        add_fid(found, sampled, bench.train.images)
    rows = [row_of(s, estimates) for s, estimates in zip(sampled, found, strict=True)]
    timings = measure_time(config, bench)
    add_times(rows, timings)
    teacher, student = sampled[0], sampled[1]
    bias = measure_bias(config, bench, drawn, sampled, features, (train_features, test_features))
    pairs = same_seed(student.images, teacher.images)
    rows[1]["psnr_db"] = pairs.intervals()["psnr_db"].to_dict()
    neighbours = nearest_training_images(
        student.images[:NUM_NEIGHBOURS], bench.train.images, features,
        training_features=train_features, held_out_features=test_features,
    )  # fmt: skip
    by_role = {row["role"]: row for row in rows}
    saved = save_pictures(
        bench, drawn, teacher.images, student.images, student.stats, neighbours, directory
    )
    return {
        "rows": rows,
        **{who: flat(by_role[who]) for who in ("teacher", "student", "untrained")},
        "claims": claims_of(
            rows,
            {s.role: estimates for s, estimates in zip(sampled, found, strict=True)},
            student.gflops,
            paired_speedup(timings["student"], timings["teacher"]),
            split_sizes={"train": len(bench.train), "test": len(bench.test)},
            where=f"{machine()}; {bench.device}, {bench.precision}",
        ),
        "commit": commit(),
        "neighbours": neighbours.to_dict(),
        "bias": bias,
        "operating_point": bench.point.model_dump(mode="json"),
        **saved,
    }  # fmt: skip


def sample_all(
    config: EvaluateConfig, bench: Bench, drawn: Draws, progress: Progress
) -> list[Sampled]:
    """Teacher, student, untrained, and the article's reference, from the same seeds and labels."""

    def shown(name: str, total: int) -> Callable[[int], None]:
        progress.message(f"sampling {total} pictures: {name}")
        return lambda done: progress.update(step=done, total=total)

    steps, num = config.num_inference_steps, len(drawn)
    point = bench.point
    full = dense_gflops(bench.teacher.denoiser, steps, config.solver)
    few = Draws(drawn.labels[: config.num_reference], drawn.seeds[: config.num_reference])
    with autocast(bench.device, bench.precision):
        teacher = dense_images(
            bench.teacher.denoiser, drawn, steps, config.solver, shown("teacher", num)
        )
        student, stats = student_images(bench.student, point, drawn, shown("student", num))
        untrained = dense_images(
            bench.untrained, drawn, steps, config.solver, shown("untrained", num)
        )
        reference = dense_images(
            bench.teacher.denoiser, few, REFERENCE_STEPS, REFERENCE_SOLVER,
            shown("DDIM, 50 steps", len(few)),
        )  # fmt: skip
    ddim = dense_gflops(bench.teacher.denoiser, REFERENCE_STEPS, REFERENCE_SOLVER)
    return [
        Sampled("teacher", "teacher", teacher, [full] * num, full, steps),
        Sampled(
            f"student, {point.label}", "student", student, [s.gflops for s in stats],
            stats[0].gflops_full, point.num_inference_steps, stats=stats,
        ),
        Sampled("untrained", "untrained", untrained, [full] * num, full, steps),
        Sampled(
            "teacher, DDIM (Euler)", "reference", reference, [ddim] * len(few), ddim,
            REFERENCE_STEPS, "the article's reference sampler",
        ),
    ]  # fmt: skip


def distances(
    sampled: Sampled,
    extract: FeatureNet,
    train: np.ndarray,
    fitted: Gaussian | None,
    test: np.ndarray,
) -> dict[str, Estimate]:
    """KID against the test split, and fd_lite0 against the training split where n allows."""
    features = extract(sampled.images)
    found = {"kid": kernel_distance(features, test)}
    if fitted is not None and len(features) >= features.shape[1]:
        found["fd_lite0"] = frechet_estimate(features, train, fitted)
    return found


def row_of(sampled: Sampled, estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    """One row of the quality table, as JSON values."""
    enough = "fd_lite0" in estimates
    return {
        "name": sampled.name,
        "role": sampled.role,
        "num_inference_steps": sampled.num_steps,
        "n": len(sampled.images),
        "fd_lite0": None,
        **{metric: found.to_dict() for metric, found in estimates.items()},
        "gflops": mean(sampled.gflops),
        "gflops_full": sampled.gflops_full,
        "note": sampled.note if enough else f"{sampled.note}; n too small for fd_lite0".strip("; "),
    }


def add_fid(found: list[dict[str, Estimate]], sampled: list[Sampled], train: np.ndarray) -> None:
    """True FID of every method with enough pictures. Raises DataError without the weights."""
    from nitrogen.pipelines.metrics.fid import InceptionNet

    extract = InceptionNet()
    if len(train) < extract.dims:
        return
    reference = extract(train)
    for estimates, one in zip(found, sampled, strict=True):
        if len(one.images) >= extract.dims:
            estimates["fid"] = frechet_estimate(extract(one.images), reference)


def measure_bias(
    config: EvaluateConfig,
    bench: Bench,
    drawn: Draws,
    sampled: list[Sampled],
    features: FeatureNet,
    known: tuple[np.ndarray, np.ndarray],
) -> dict[str, Any]:
    """Classes and colours of the data, the teacher, and the student, full and adaptive.

    known: features of the training and the test split.
    """
    teacher, student = sampled[0], sampled[1]
    with autocast(bench.device, bench.precision):
        full = dense_images(
            bench.student.denoiser, drawn, config.num_inference_steps, config.solver
        )
    drawn_by = {
        "teacher": teacher.images,
        "student, full": full,
        "student, adaptive": student.images,
    }
    return bias_table(
        {name: (images, features(images)) for name, images in drawn_by.items()},
        (bench.train.images, known[0], bench.train.labels),
        (known[1], bench.test.labels),
        bench.train.classes,
    )


def measure_time(config: EvaluateConfig, bench: Bench) -> dict[str, Timing]:
    """Milliseconds a picture at batch 1, paired in one run: teacher, student, DDIM reference."""
    one = draws("show", 1, bench.test.labels, bench.seed)
    teacher, steps = bench.teacher.denoiser, config.num_inference_steps
    methods = {
        "teacher": lambda: dense_images(teacher, one, steps, config.solver),
        "student": lambda: student_images(bench.student, bench.point, one),
        "reference": lambda: dense_images(teacher, one, REFERENCE_STEPS, REFERENCE_SOLVER),
    }
    with autocast(bench.device, bench.precision):
        return time_callables(methods, repeats=config.num_timings)


def add_times(rows: list[dict[str, Any]], timings: dict[str, Timing]) -> None:
    """The untrained model runs the teacher's own code: it is not timed again."""
    for row in rows:
        timing = timings.get(row["role"])
        if timing is not None:
            row |= {
                "ms_p50": timing.p50,
                "ms_p95": timing.p95,
                "num_timings": len(timing.ms),
            }


def flat(row: dict[str, Any]) -> dict[str, Any]:
    """Numbers of one row by name, intervals as `<name>_low` and `<name>_high`."""
    found = {}
    for name, value in row.items():
        if isinstance(value, dict):
            found[name] = value["value"]
            found[f"{name}_low"], found[f"{name}_high"] = value["low"], value["high"]
        elif isinstance(value, int | float):
            found[name] = value
    found.setdefault("fd_lite0", None)
    found.setdefault("ms_p50", None)
    if row["gflops_full"]:
        found["compute_ratio"] = row["gflops"] / row["gflops_full"]
    return found
