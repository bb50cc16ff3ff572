"""How far pictures from the same seeds are apart: RMSE and PSNR, per picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nitrogen.pipelines.metrics.bootstrap import Interval, bootstrap
from nitrogen.platform.errors import DataError

PSNR_CAP_DB = 100.0  # Equal pictures have no finite PSNR; 8 bits cannot tell above about 90 dB.


@dataclass(frozen=True)
class SameSeed:
    """Per-picture differences; rmse is in units of the full range (0..1), psnr_db in decibels."""

    rmse: np.ndarray  # [n]
    psnr_db: np.ndarray  # [n], capped at PSNR_CAP_DB

    def intervals(self) -> dict[str, Interval]:
        """{"rmse", "psnr_db"}: means over pictures with 95 % bootstrap intervals."""
        return {"rmse": bootstrap(self.rmse), "psnr_db": bootstrap(self.psnr_db)}

    def to_dict(self) -> dict[str, Any]:
        """The intervals as plain numbers."""
        return {name: interval.to_dict() for name, interval in self.intervals().items()}


def same_seed(images: np.ndarray, reference: np.ndarray) -> SameSeed:
    """Compare images uint8 [n, h, w, c] with reference of the same shape, seed by seed.

    DataError when the shapes differ: then they do not come from the same seeds.
    """
    if images.shape != reference.shape or images.ndim != 4 or not len(images):
        raise DataError(
            f"images and reference must have one shape [n, h, w, c], got {list(images.shape)} and "
            f"{list(reference.shape)}. Sample both with the same seeds and image size."
        )
    if images.dtype != np.uint8 or reference.dtype != np.uint8:
        raise DataError(
            f"images must be uint8, got {images.dtype} and {reference.dtype}. Scale them to 0..255."
        )
    rmse = np.array([_rmse(a, b) for a, b in zip(images, reference, strict=True)])
    floor = 10.0 ** (-PSNR_CAP_DB / 20.0)
    return SameSeed(rmse=rmse, psnr_db=-20.0 * np.log10(np.maximum(rmse, floor)))


def _rmse(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square((a.astype(np.float64) - b) / 255.0))))
