"""What all rows of a benchmark share: models, seeds, the reference, and the store of rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nitrogen.kernels.cpu.library import load
from nitrogen.pipelines.bench.contenders import FrontierConfig
from nitrogen.pipelines.bench.controls import Trace
from nitrogen.pipelines.bench.methods import Method, runner
from nitrogen.pipelines.bench.models import REPORT_SPLIT, Models, pictures
from nitrogen.pipelines.bench.quality import (
    REFERENCE_SOLVER,
    REFERENCE_STEPS,
    Extract,
    Yardstick,
    reference,
    row_of,
    sample,
)
from nitrogen.pipelines.bench.row_store import Row, RowStore, row_key
from nitrogen.pipelines.code_digest import code_digests
from nitrogen.pipelines.sampling import Draws, draws

Say = Callable[[str], None]


@dataclass(frozen=True)
class Contest:
    """What all rows share. drawn: of the report split; facts: what every key depends on."""

    config: FrontierConfig
    models: Models
    drawn: Draws
    yardstick: Yardstick
    store: RowStore
    facts: dict[str, Any]
    say: Say

    @classmethod
    def prepare(
        cls, config: FrontierConfig, models: Models, folder: Path, extract: Extract, say: Say
    ) -> Contest:
        labels = pictures(models.data_uri, REPORT_SPLIT, models.arch.image_size)[1]
        drawn = draws("evaluate", config.num_images, labels, config.seed)
        facts = {
            "weights": models.digest, "data": models.data_digest,
            "seeds": [drawn.seeds[0], len(drawn)], "labels": drawn.labels,
            "threads": torch.get_num_threads(),
            "kernels": provider(), "code": code_digests("nitrogen.pipelines.bench.quality"),
        }  # fmt: skip
        say("features of the data")
        return cls(
            config, models, drawn, Yardstick.of(models, extract), RowStore(folder / "rows"),
            facts, say,
        )  # fmt: skip

    def key(self, method: Method) -> str:
        """The row's key; a control's depends on the plans that it moves."""
        trace = row_key({"widths": _digest(method.trace)}, {}) if method.trace else None
        return row_key(method.described(), self.facts | {"trace": trace})

    def target(self, guidance: float) -> np.ndarray:
        """The teacher's 64-step pictures of these seeds, drawn once."""
        described = {"reference": [REFERENCE_STEPS, REFERENCE_SOLVER, guidance]}
        key = row_key(described, self.facts)
        row = self.store.get(key)
        if row is None:
            self.say(f"teacher, {REFERENCE_STEPS} steps, guidance {guidance:g}: the reference")
            x_0 = reference(self.models, self.drawn, guidance)
            row = self.store.put(Row(key, described, {"x_0": x_0}))
        return row.arrays["x_0"]

    def row(self, method: Method) -> Row:
        """The row, from the store or measured now."""
        key = self.key(method)
        found = self.store.get(key)
        if found is not None:
            return found
        self.say(method.name)
        sampled = sample(runner(method, self.models), self.drawn)
        values, arrays = row_of(method, sampled, self.target(method.guidance), self.yardstick)
        return self.store.put(Row(key, {"key": key, **values}, arrays))


def provider() -> str:
    """Which kernels run, C++ with the digest of its sources or plain PyTorch: neither their bits
    nor their times may stand for each other's."""
    return load()[1]


def _digest(trace: Trace) -> str:
    return hashlib.sha256(trace.widths.tobytes()).hexdigest()
