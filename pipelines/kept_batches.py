"""Batches of samples in a folder: what was cut off while it drew them goes on with the next one."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nitrogen.platform import storage

if TYPE_CHECKING:
    from nitrogen.model.generation import Generation


class KeptBatches:
    """One method's batches, each a file named by the number of its first picture.

    The folder must belong to one setting, as a step's does: no file says how it was made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, start: int) -> Generation | None:
        """The batch that begins at this picture; None if it is not there or cannot be read."""
        import torch

        from nitrogen.model.generation import Generation, SampleStats

        try:
            # Opened here: numpy leaves a file open that it cannot read.
            with (
                self._path(start).open("rb") as file,
                np.load(file, allow_pickle=False) as arrays,
            ):
                found = {name: arrays[name] for name in arrays.files}
            images, heatmaps = (torch.from_numpy(found.pop(name)) for name in ("images", "heatmap"))
            stats = [
                SampleStats(heatmap=heatmaps[i], **{name: v[i].item() for name, v in found.items()})
                for i in range(len(images))
            ]
        except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError, zipfile.BadZipFile):
            return None
        return Generation(images, stats)

    def put(self, start: int, made: Generation) -> None:
        names = [field.name for field in dataclasses.fields(made.stats[0])]
        arrays: dict[str, Any] = {
            name: np.array([getattr(one, name) for one in made.stats])
            for name in names if name != "heatmap"
        }  # fmt: skip
        arrays["heatmap"] = np.stack([one.heatmap.numpy() for one in made.stats])
        arrays["images"] = made.images.numpy()
        sink = io.BytesIO()
        np.savez(sink, **arrays)
        self._folder.mkdir(parents=True, exist_ok=True)
        storage.write_bytes(str(self._path(start)), sink.getvalue())

    def _path(self, start: int) -> Path:
        return self._folder / f"{start:08d}.npz"
