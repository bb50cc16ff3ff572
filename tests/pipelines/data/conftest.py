"""Small sources of pictures, drawn on the spot."""

import gzip
import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (16, 16), mode: str = "RGB") -> Image.Image:
    """A random picture of `size` (width, height)."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], bands), np.uint8)
    return Image.fromarray(values.squeeze(-1) if bands == 1 else values, mode)


def encoded(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of 16x16 pictures: 12 ant, 10 bee, 8 cow."""
    root = tmp_path / "source"
    for label, (name, count) in enumerate({"ant": 12, "bee": 10, "cow": 8}.items()):
        (root / name).mkdir(parents=True)
        for i in range(count):
            picture(100 * label + i).save(root / name / f"{i:02d}.png")
    return root


@pytest.fixture
def write_idx(tmp_path: Path) -> Callable[..., Path]:
    """Writes an MNIST-like folder: images uint8 [n, h, w] by split name (train, t10k)."""

    def write(compress: bool = False, **images: np.ndarray) -> Path:
        root = tmp_path / "idx"
        root.mkdir(exist_ok=True)
        for split, values in images.items():
            header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
            labels = np.arange(len(values), dtype=np.uint8) % 3
            label_header = struct.pack(">HBBI", 0, 8, 1, len(labels))
            for name, data in (
                (f"{split}-images-idx{values.ndim}-ubyte", header + values.tobytes()),
                (f"{split}-labels-idx1-ubyte", label_header + labels.tobytes()),
            ):
                path = root / (name + ".gz" if compress else name)
                path.write_bytes(gzip.compress(data) if compress else data)
        return root

    return write


@pytest.fixture
def write_parquet(tmp_path: Path) -> Callable[..., Path]:
    """Writes columns to a Parquet file; names in the metadata as `datasets` does, if given."""

    def write(columns: dict[str, pa.Array], file: str = "a.parquet", metadata: str = "") -> Path:
        path = tmp_path / "parquet" / file
        path.parent.mkdir(exist_ok=True)
        table = pa.table(columns)
        if metadata:
            table = table.replace_schema_metadata({"huggingface": metadata})
        pq.write_table(table, path)
        return path

    return write
