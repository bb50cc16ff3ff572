"""The .npz between evaluate and report: round trip, no pickle, damage is one sentence."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest

from nitrogen.pipelines.report.data import LabelledImages, Samples
from nitrogen.pipelines.report.data_checks import NeighbourRows
from nitrogen.pipelines.report.samples_file import load_grid, load_samples, save_grid, save_samples
from nitrogen.platform.errors import DataError


def pictures(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)


def test_everything_comes_back(tmp_path):
    samples = Samples(
        teacher=pictures(3),
        student=pictures(3, 1),
        labels=["Essen & Trinken", "\N{CAT FACE}", "x"],
        seeds=[5, 6, 2**40],
        heatmaps=np.random.default_rng(0).random((2, 4, 2, 2)),
        sigmas=[80.0, 1.0, 0.5, 0.25],
        active_fraction=[0.25, 0.5, 1.0],
    )
    neighbours = NeighbourRows(pictures(2), np.stack([pictures(3)] * 2), None)
    path = save_samples(tmp_path / "new" / "samples.npz", samples, neighbours)
    found, near = load_samples(path)
    assert np.array_equal(found.teacher, samples.teacher)
    assert np.array_equal(found.student, samples.student)
    assert (found.labels, found.seeds) == (samples.labels, samples.seeds)
    assert np.allclose(found.heatmaps, samples.heatmaps)
    assert (found.sigmas, found.active_fraction) == (samples.sigmas, samples.active_fraction)
    assert np.array_equal(near.by_features, neighbours.by_features)
    assert near.by_pixels is None
    assert [entry.name for entry in path.parent.iterdir()] == ["samples.npz"]


def test_what_was_not_given_is_none(tmp_path):
    path = save_samples(tmp_path / "samples.npz", Samples(pictures(1), pictures(1)))
    found, near = load_samples(path)
    assert (found.heatmaps, found.sigmas, found.active_fraction, near) == (None, None, None, None)
    assert (found.labels, found.seeds) == ([], [])


def test_grid_round_trip(tmp_path):
    grid = LabelledImages(pictures(2), ["a", "b"], "Shipped weights.")
    found = load_grid(save_grid(tmp_path / "grid.npz", grid))
    assert np.array_equal(found.images, grid.images)
    assert (found.labels, found.caption) == (["a", "b"], "Shipped weights.")
    bare = load_grid(save_grid(tmp_path / "bare.npz", LabelledImages(pictures(1))))
    assert (bare.labels, bare.caption) == ([], "")


def test_damaged_missing_and_foreign_files_are_refused(tmp_path):
    path = save_samples(tmp_path / "samples.npz", Samples(pictures(1), pictures(1)))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"damaged one .* Run the evaluate step again"):
        load_samples(path)
    with pytest.raises(DataError, match="must exist"):
        load_samples(tmp_path / "nothing.npz")
    save_grid(path, LabelledImages(pictures(1)))
    with pytest.raises(DataError, match="must hold student, teacher, got caption, images"):
        load_samples(path)


def test_a_pickle_is_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    stream = io.BytesIO()
    np.savez(stream, teacher=np.array([Bomb()], dtype=object), student=pictures(1))
    path = tmp_path / "samples.npz"
    path.write_bytes(stream.getvalue())
    with pytest.raises(DataError, match="plain arrays"):
        load_samples(path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match="plain arrays"):
        load_samples(path)
    assert not (tmp_path / "exploded").exists()
