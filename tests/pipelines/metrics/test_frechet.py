"""The Frechet distance against closed forms, finite differences and its own refusals."""

from __future__ import annotations

import numpy as np
import pytest

from nitrogen.pipelines.metrics.bootstrap import paired_difference
from nitrogen.pipelines.metrics.frechet import (
    Gaussian,
    fit_gaussian,
    frechet_distance,
    frechet_estimate,
    gaussian_distance,
)
from nitrogen.platform.errors import DataError


def gaussian(mean: list[float], deviations: list[float], rotation: np.ndarray) -> Gaussian:
    factor = rotation * np.array(deviations)
    return Gaussian(np.array(mean, float), factor @ factor.T, factor, 1000)


def rotation(dims: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(dims, dims)))[0]


def test_distance_has_the_closed_form_of_commuting_gaussians():
    axes = rotation(4, 0)
    a = gaussian([0, 0, 0, 0], [1, 2, 3, 0.5], axes)
    b = gaussian([1, 0, -2, 0], [2, 2, 1, 0.1], axes)
    # With common axes: |mu_a - mu_b|^2 + sum (s_a - s_b)^2.
    assert gaussian_distance(a, b) == pytest.approx(5.0 + 1 + 0 + 4 + 0.16, abs=1e-10)


def test_distance_agrees_with_the_square_root_of_the_product():
    a = gaussian([0] * 3, [1, 2, 3], rotation(3, 1))
    b = gaussian([0] * 3, [3, 1, 0.5], rotation(3, 2))
    trace = np.sqrt(np.linalg.eigvals(a.covariance @ b.covariance).real).sum()
    expected = np.trace(a.covariance) + np.trace(b.covariance) - 2 * trace
    assert gaussian_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert gaussian_distance(b, a) == pytest.approx(expected, rel=1e-9)


def test_identical_sets_are_at_zero_even_with_silent_channels():
    features = np.random.default_rng(0).normal(size=(300, 32)) * 100
    features[:, 20:] = 0.0
    assert frechet_distance(features, features) < 1e-6
    estimate = frechet_estimate(features, features)
    assert estimate.value < 1e-6
    assert estimate.standard_error < 1e-3


def test_distance_grows_with_noise():
    generator = np.random.default_rng(1)
    clean = generator.normal(size=(600, 16))
    noise = generator.normal(size=clean.shape)
    distances = [frechet_distance(clean + scale * noise, clean) for scale in (0, 0.3, 0.6, 1.2)]
    assert distances == sorted(distances)
    assert distances[3] > 10 * distances[1] > 0


def test_influence_is_the_derivative_of_the_distance():
    """Give one picture more weight: the value must move by its influence (to first order)."""
    generator = np.random.default_rng(2)
    features = generator.normal(size=(400, 5)) @ generator.normal(size=(5, 5))
    reference = generator.normal(size=(300, 5)) + 0.5
    estimate = frechet_estimate(features, reference)
    target = fit_gaussian(reference)
    for picture in (0, 7, 399):
        copies = np.concatenate([np.repeat(features, 50, axis=0), features[[picture]]])
        moved = gaussian_distance(fit_gaussian(copies), target) - gaussian_distance(
            fit_gaussian(np.repeat(features, 50, axis=0)), target
        )
        assert moved * len(copies) == pytest.approx(estimate.influence[picture], rel=0.02, abs=0.02)


def test_interval_covers_the_scatter_of_repeated_draws():
    generator = np.random.default_rng(3)
    reference = generator.normal(size=(2000, 8))
    estimates = [
        frechet_estimate(1.3 * generator.normal(size=(2000, 8)) + 0.2, reference) for _ in range(40)
    ]
    scatter = np.std([e.value for e in estimates], ddof=1)
    own = np.mean([np.std(e.influence, ddof=1) / np.sqrt(e.n) for e in estimates])
    assert 0.7 < scatter / own < 1.4


def test_fitted_reference_changes_nothing():
    generator = np.random.default_rng(4)
    features, reference = generator.normal(size=(90, 6)), generator.normal(size=(80, 6))
    assert frechet_estimate(features, reference, fit_gaussian(reference)) == frechet_estimate(
        features, reference
    )
    assert frechet_distance(features, fit_gaussian(reference)) == pytest.approx(
        frechet_estimate(features, reference).value
    )


def test_paired_difference_of_nearly_equal_models_is_tighter_than_the_two_intervals():
    generator = np.random.default_rng(5)
    reference = generator.normal(size=(500, 6))
    teacher = generator.normal(size=(500, 6)) + 0.5
    student = teacher + 0.01 * generator.normal(size=teacher.shape)
    a, b = frechet_estimate(student, reference), frechet_estimate(teacher, reference)
    difference = paired_difference(a, b)
    assert difference.high - difference.low < 0.2 * (a.high - a.low)
    assert difference.low < a.value - b.value < difference.high


@pytest.mark.parametrize(("n", "m", "field"), [(7, 50, "num_images"), (50, 7, "num_reference")])
def test_fewer_pictures_than_dimensions_are_refused_by_name(n: int, m: int, field: str):
    features, reference = np.ones((n, 8)), np.ones((m, 8))
    with pytest.raises(DataError, match=rf"{field}.* must be at least 8 .* got 7\. .*KID"):
        frechet_estimate(features, reference)


def test_not_finite_features_are_refused():
    features = np.ones((20, 4))
    features[3, 2] = np.nan
    with pytest.raises(DataError, match="finite"):
        frechet_distance(features, np.ones((20, 4)))
