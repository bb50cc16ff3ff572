"""What one row is worth: same-seed MSE to the teacher's long run, KID, fd_lite0, FLOPs, calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.generation import to_uint8
from nitrogen.pipelines.bench.methods import Method, Runner, runner
from nitrogen.pipelines.bench.models import REPORT_SPLIT, TRAIN_SPLIT, Models, pictures
from nitrogen.pipelines.metrics.bootstrap import Estimate, bootstrap
from nitrogen.pipelines.metrics.frechet import Gaussian, fit_gaussian, frechet_estimate
from nitrogen.pipelines.metrics.kernel import kernel_distance
from nitrogen.pipelines.sampling import Draws

REFERENCE_STEPS, REFERENCE_SOLVER = 64, "dpmpp_2m"
BATCH = 64

Extract = Callable[[np.ndarray], np.ndarray]  # uint8 [n, h, w, 3] -> float32 [n, d]


@dataclass(frozen=True)
class Sampled:
    """All pictures of one row. x_0: float32 [n, h, w, c]; flops, nfe: float64 [n]; widths: uint8
    [n, steps, rh, rw] or None."""

    x_0: np.ndarray
    flops: np.ndarray
    nfe: np.ndarray
    widths: np.ndarray | None

    @property
    def images(self) -> np.ndarray:
        """uint8 [n, h, w, c]."""
        return to_uint8(torch.from_numpy(self.x_0)).numpy()


@dataclass(frozen=True)
class Yardstick:
    """What distances are taken to: KID to the report split, fd_lite0 to the training split."""

    extract: Extract
    test: np.ndarray  # features [m, d]
    train: np.ndarray
    fitted: Gaussian | None  # of `train`, where it has pictures enough

    @classmethod
    def of(cls, models: Models, extract: Extract) -> Yardstick:
        side = models.arch.image_size
        test = extract(pictures(models.data_uri, REPORT_SPLIT, side)[0])
        train = extract(pictures(models.data_uri, TRAIN_SPLIT, side)[0])
        enough = len(train) >= train.shape[1]
        return cls(extract, test, train, fit_gaussian(train) if enough else None)

    def kid(self, features: np.ndarray) -> Estimate:
        return kernel_distance(features, self.test)

    def fd(self, features: np.ndarray) -> Estimate | None:
        """None below as many pictures as features."""
        if self.fitted is None or len(features) < features.shape[1]:
            return None
        return frechet_estimate(features, self.train, self.fitted)


def sample(
    run: Runner, drawn: Draws, on_batch: Callable[[int], None] | None = None, batch: int = BATCH
) -> Sampled:
    """Every picture of `drawn`, in batches."""
    parts, widths = [], []
    for number, part in enumerate(drawn.parts(batch), start=1):
        made = run(part.labels, part.seeds)
        parts.append((made.x_0.numpy(), made.flops.numpy(), made.nfe.numpy()))
        if made.widths is not None:
            widths.append(made.widths.numpy().astype(np.uint8))
        if on_batch:
            on_batch(min(number * batch, len(drawn)))
    x_0, flops, nfe = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Sampled(x_0, flops, nfe, np.concatenate(widths) if widths else None)


def reference_method(guidance: float = 1.0) -> Method:
    """The teacher's 64-step run, by the faster operators; no row of the benchmark."""
    setting = {
        "model": "teacher", "solver": REFERENCE_SOLVER, "num_steps": REFERENCE_STEPS,
        "widths": [NUM_WIDTHS] * REFERENCE_STEPS,
    }  # fmt: skip
    name = f"the reference: teacher, {REFERENCE_STEPS} steps, guidance {guidance:g}"
    return Method(name, "reference", "played", setting, guidance, timed=False)


def reference(
    models: Models,
    drawn: Draws,
    guidance: float = 1.0,
    on_batch: Callable[[int], None] | None = None,
) -> np.ndarray:
    """x_0 of the teacher's 64-step run, float32 [n, h, w, c]."""
    return sample(runner(reference_method(guidance), models), drawn, on_batch).x_0


def squared_errors(x_0: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Mean squared error of each picture, float64 [n], for pictures in [0, 1]."""
    ours, theirs = np.clip(x_0, -1, 1), np.clip(target, -1, 1)
    return np.square((ours.astype(np.float64) - theirs) / 2).mean(axis=(1, 2, 3))


def psnr(mse: np.ndarray | float) -> np.ndarray:
    """dB of pictures in [0, 1]; equal ones count as 100."""
    return -10 * np.log10(np.maximum(mse, 1e-10))


def row_of(
    method: Method, sampled: Sampled, target: np.ndarray | None, yardstick: Yardstick
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """values (JSON) and arrays (per seed) of one row; no errors where there is no target."""
    mse = None if target is None else squared_errors(sampled.x_0, target)
    features = yardstick.extract(sampled.images)
    kid, fd = yardstick.kid(features), yardstick.fd(features)
    values = {
        **method.described(),
        "n": len(sampled.x_0),
        "mse": None if mse is None else bootstrap(mse).to_dict(),
        "psnr_db": None if mse is None else float(np.mean(psnr(mse))),
        "kid": kid.to_dict(),
        "fd_lite0": fd.to_dict() if fd else None,
        **spent_values(sampled.flops, sampled.nfe),
    }
    arrays = {
        "flops": sampled.flops,
        "nfe": sampled.nfe,
        "kid_influence": kid.influence,
    }
    if mse is not None:
        arrays["mse"] = mse
    if fd:
        arrays["fd_influence"] = fd.influence
    if sampled.widths is not None:
        arrays["widths"] = sampled.widths
    return values, arrays


def spent_values(flops: np.ndarray, nfe: np.ndarray) -> dict[str, float]:
    """What a row shows of the FLOPs and calls of its pictures, each [n]."""
    return {
        "gflops": float(flops.mean() / 1e9), "gflops_max": float(flops.max() / 1e9),
        "nfe": float(nfe.mean()),
    }  # fmt: skip
