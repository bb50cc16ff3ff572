"""KID against its definition and its own promises: unbiased, and an interval that covers."""

from __future__ import annotations

import numpy as np
import pytest

from nitrogen.pipelines.metrics.bootstrap import paired_difference
from nitrogen.pipelines.metrics.kernel import kernel_distance
from nitrogen.platform.errors import DataError


def by_definition(x: np.ndarray, y: np.ndarray) -> float:
    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (a @ b / len(a) + 1) ** 3

    n, m = len(x), len(y)
    xx = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(kernel(a, b) for a in x for b in y) / (n * m)


def test_value_and_jackknife_are_those_of_the_definition():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(9, 4)), generator.normal(size=(6, 4)) + 1
    result = kernel_distance(x, y)
    assert result.value == pytest.approx(by_definition(x, y), rel=1e-10)
    left_out = np.array([by_definition(np.delete(x, i, 0), y) for i in range(9)])
    variance = 8 / 9 * np.square(left_out - left_out.mean()).sum()
    left_out = np.array([by_definition(x, np.delete(y, j, 0)) for j in range(6)])
    variance += 5 / 6 * np.square(left_out - left_out.mean()).sum()
    assert result.standard_error == pytest.approx(np.sqrt(variance), rel=1e-9)
    assert (result.n, result.n_reference) == (9, 6)


def test_same_distribution_is_unbiased_and_its_interval_contains_zero():
    generator = np.random.default_rng(1)
    draws = [
        kernel_distance(generator.normal(size=(60, 10)), generator.normal(size=(80, 10)))
        for _ in range(100)
    ]
    values = np.array([draw.value for draw in draws])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(len(values))
    assert (values < 0).any()
    assert np.mean([draw.low <= 0 <= draw.high for draw in draws]) >= 0.9


def test_interval_covers_the_true_value_of_different_distributions():
    generator = np.random.default_rng(2)
    truth = kernel_distance(
        generator.normal(size=(6000, 5)) + 0.6, generator.normal(size=(6000, 5))
    ).value
    draws = [
        kernel_distance(generator.normal(size=(150, 5)) + 0.6, generator.normal(size=(150, 5)))
        for _ in range(60)
    ]
    assert np.mean([draw.low <= truth <= draw.high for draw in draws]) >= 0.85
    assert all(draw.low > 0 for draw in draws)


def test_blocks_do_not_change_the_sums(monkeypatch):
    generator = np.random.default_rng(3)
    x, y = generator.normal(size=(70, 6)), generator.normal(size=(45, 6))
    whole = kernel_distance(x, y)
    monkeypatch.setattr("nitrogen.pipelines.metrics.kernel._BLOCK_ROWS", 16)
    assert kernel_distance(x, y).value == pytest.approx(whole.value, rel=1e-12)


def test_pairing_tells_two_close_models_apart():
    generator = np.random.default_rng(4)
    reference = generator.normal(size=(400, 8))
    teacher = generator.normal(size=(400, 8)) + 0.3
    student = teacher + 0.05
    difference = paired_difference(
        kernel_distance(student, reference), kernel_distance(teacher, reference)
    )
    assert difference.low > 0
    assert difference.excludes_zero


def test_difference_needs_one_reference():
    generator = np.random.default_rng(5)
    x = generator.normal(size=(20, 4))
    a, b = kernel_distance(x, x[:10] + 1), kernel_distance(x, x[:12] + 1)
    with pytest.raises(ValueError, match="n_reference must agree, got 10 and 12"):
        paired_difference(a, b)


def test_too_few_pictures_are_refused():
    with pytest.raises(DataError, match=r"num_reference_images must be at least 3 .* got 2"):
        kernel_distance(np.ones((5, 4)), np.ones((2, 4)))
