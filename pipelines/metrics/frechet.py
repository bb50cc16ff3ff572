"""Frechet distance between Gaussians fitted to features (Heusel et al. 2017, Dowson & Landau 1982).

On EfficientNet-Lite0 features it is called fd_lite0, on Inception features FID. Both are biased
upwards when n is small, and the interval does not hold that bias: compare at equal n only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nitrogen.pipelines.metrics.bootstrap import Estimate, estimate
from nitrogen.platform.errors import DataError


@dataclass(frozen=True)
class Gaussian:
    """Mean [d] and covariance [d, d] of n features, float64; factor @ factor.T = covariance."""

    mean: np.ndarray
    covariance: np.ndarray
    factor: np.ndarray
    n: int


def fit_gaussian(features: np.ndarray) -> Gaussian:
    """The Gaussian of features [n, d], n >= 2 (unbiased covariance)."""
    rows = np.asarray(features, dtype=np.float64)
    mean = rows.mean(axis=0)
    centred = rows - mean
    covariance = centred.T @ centred / (len(rows) - 1)
    values, vectors = _linalg("eigh", covariance)
    # Rounding makes the eigenvalues of silent channels slightly negative: they count as 0.
    return Gaussian(mean, covariance, vectors * np.sqrt(np.clip(values, 0.0, None)), len(rows))


def gaussian_distance(a: Gaussian, b: Gaussian) -> float:
    """|mu_a - mu_b|^2 + tr A + tr B - 2 tr (A^1/2 B A^1/2)^1/2, at least 0.

    The last trace is the sum of the singular values of L^T M, where A = L L^T and B = M M^T: no
    square root is taken of a product, so a set against itself gives 0 to rounding, where the
    usual sqrtm(A B) turns complex.
    """
    return _distance(a, b, _linalg("svdvals", a.factor.T @ b.factor))


def frechet_distance(features: np.ndarray, reference: np.ndarray | Gaussian) -> float:
    """The distance of features [n, d] from a reference; DataError when n < d (see check_count)."""
    return gaussian_distance(_fitted(features, "num_images"), _fitted_reference(reference))


def frechet_estimate(
    features: np.ndarray, reference: np.ndarray, fitted: Gaussian | None = None
) -> Estimate:
    """The distance of features [n, d] from reference [m, d], with a 95 % interval over both sets.

    fitted: fit_gaussian(reference), if it is at hand. The interval is the infinitesimal jackknife,
    one pass over the pictures: with T the map that transports one Gaussian onto the other, a
    picture moves the value by 2 (mu - mu_other).x + x.(1 - T)x, x centred, less its mean. (At
    n = 1,400 its standard error was 7.3 where repeated draws scattered by 9.2 +- 1.9.)
    """
    sample = _fitted(features, "num_images")
    target = fitted or _fitted_reference(reference)
    u, singular, vt = _linalg("svd", sample.factor.T @ target.factor)
    # Directions that carry nothing (a channel that never fires) transport nothing.
    keep = singular > 1e-9 * singular[0]
    shift = sample.mean - target.mean
    to_target = _transport(target.factor @ vt[keep].T, singular[keep])
    to_sample = _transport(sample.factor @ u[:, keep], singular[keep])
    return estimate(
        _distance(sample, target, singular),
        _influence(features, sample.mean, shift, to_target),
        _influence(reference, target.mean, -shift, to_sample),
    )


def check_count(num_images: int, dims: int, name: str = "num_images") -> None:
    """Refuse a Frechet distance over fewer pictures than feature dimensions (singular, biased)."""
    if num_images < dims:
        raise DataError(
            f"{name} must be at least {dims} for a Frechet distance over {dims} features, "
            f"got {num_images}. Use more pictures, or report KID, which is unbiased at any n."
        )


def _fitted(features: np.ndarray, name: str) -> Gaussian:
    if not np.isfinite(features).all():
        raise DataError(f"{name}: features must be finite, got NaN. Check the pictures.")
    check_count(len(features), features.shape[1], name)
    return fit_gaussian(features)


def _fitted_reference(reference: np.ndarray | Gaussian) -> Gaussian:
    if isinstance(reference, Gaussian):
        check_count(reference.n, len(reference.mean), "num_reference_images")
        return reference
    return _fitted(reference, "num_reference_images")


def _distance(a: Gaussian, b: Gaussian, singular: np.ndarray) -> float:
    shift = np.square(a.mean - b.mean).sum()
    value = shift + np.trace(a.covariance) + np.trace(b.covariance) - 2.0 * singular.sum()
    return max(0.0, float(value))


def _transport(directions: np.ndarray, singular: np.ndarray) -> np.ndarray:
    """The map onto a Gaussian: F U S^-1 U^T F^T, given directions = F U and the singular values."""
    half = directions / np.sqrt(singular)
    return half @ half.T


def _influence(
    features: np.ndarray, mean: np.ndarray, shift: np.ndarray, transport: np.ndarray
) -> np.ndarray:
    """Influence values [n], mean 0, of the rows of features on the distance."""
    centred = np.asarray(features, dtype=np.float64) - mean
    moved = np.einsum("nd,nd->n", centred @ transport, centred)
    influence = 2.0 * centred @ shift + np.square(centred).sum(axis=1) - moved
    return influence - influence.mean()


def _linalg(name: str, matrix: np.ndarray) -> Any:
    """torch.linalg on float64: at 1,280 dimensions 5 to 8 times faster than numpy's LAPACK here."""
    import torch

    result = getattr(torch.linalg, name)(torch.from_numpy(matrix))
    return result.numpy() if isinstance(result, torch.Tensor) else [x.numpy() for x in result]
