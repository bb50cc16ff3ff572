"""The .npz files that carry pictures from a step to the report; read without pickle."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nitrogen.pipelines.report.data import LabelledImages, Samples
from nitrogen.pipelines.report.data_checks import NeighbourRows
from nitrogen.platform.errors import DataError


def save_samples(path: Path, samples: Samples, neighbours: NeighbourRows | None = None) -> Path:
    """Write what `evaluate` shows; heatmaps and distances as float32. Atomic, compressed."""
    arrays: dict[str, Any] = {
        "teacher": samples.teacher,
        "student": samples.student,
        "labels": _text(samples.labels),
        "seeds": np.asarray(samples.seeds, dtype=np.int64),
        "heatmaps": _float32(samples.heatmaps),
        "sigmas": _float32(samples.sigmas),
        "active_fraction": _float32(samples.active_fraction),
    }
    if neighbours is not None:
        arrays["neighbour_samples"] = neighbours.samples
        arrays["neighbours_by_features"] = neighbours.by_features
        arrays["neighbours_by_pixels"] = neighbours.by_pixels
    return _save(path, arrays)


def load_samples(path: Path) -> tuple[Samples, NeighbourRows | None]:
    """Read save_samples' file; DataError when it is damaged or holds no pairs."""
    arrays = _load(path)
    missing = {"teacher", "student"} - arrays.keys()
    if missing:
        raise DataError(
            f"{path} must hold {', '.join(sorted(missing))}, got {', '.join(sorted(arrays))}. "
            "Run the evaluate step again."
        )
    samples = Samples(
        teacher=arrays["teacher"],
        student=arrays["student"],
        labels=_strings(arrays, "labels"),
        seeds=[int(seed) for seed in arrays.get("seeds", ())],
        heatmaps=arrays.get("heatmaps"),
        sigmas=_floats(arrays, "sigmas"),
        active_fraction=_floats(arrays, "active_fraction"),
    )
    if "neighbour_samples" not in arrays:
        return samples, None
    neighbours = NeighbourRows(
        samples=arrays["neighbour_samples"],
        by_features=arrays.get("neighbours_by_features"),
        by_pixels=arrays.get("neighbours_by_pixels"),
    )
    return samples, neighbours


def save_grid(path: Path, grid: LabelledImages) -> Path:
    """Write a labelled grid: images, labels and caption (the shipped weights' samples)."""
    caption = np.array(grid.caption or " ")
    return _save(path, {"images": grid.images, "labels": _text(grid.labels), "caption": caption})


def load_grid(path: Path) -> LabelledImages:
    """Read save_grid's file; DataError when it is damaged."""
    arrays = _load(path)
    if "images" not in arrays:
        raise DataError(f"{path} must hold images, got {', '.join(sorted(arrays))}. Make it again.")
    caption = str(arrays.get("caption", "")).strip()
    return LabelledImages(arrays["images"], _strings(arrays, "labels"), caption)


def _text(values: Sequence[str]) -> np.ndarray:
    return np.array(list(values), dtype=np.str_)


def _float32(values: Any) -> np.ndarray | None:
    return None if values is None else np.asarray(values, dtype=np.float32)


def _strings(arrays: Mapping[str, np.ndarray], name: str) -> list[str]:
    return [str(value) for value in arrays.get(name, ())]


def _floats(arrays: Mapping[str, np.ndarray], name: str) -> list[float] | None:
    return [float(value) for value in arrays[name]] if name in arrays else None


def _save(path: Path, arrays: Mapping[str, np.ndarray | None]) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    kept: dict[str, Any] = {name: value for name, value in arrays.items() if value is not None}
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as stream:
        np.savez_compressed(stream, **kept)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(stream.name, path)
    return path


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise DataError(f"{path} must exist, got nothing. Run the evaluate step again.") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} must be an .npz file of plain arrays, got a damaged one ({error}). "
            "Run the evaluate step again."
        ) from error
