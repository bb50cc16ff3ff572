"""What a search over settings of one model has looked at, kept by key: a second run goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nitrogen.pipelines.bench.conditions import behind
from nitrogen.pipelines.bench.models import Models
from nitrogen.pipelines.bench.quality import Extract, reference
from nitrogen.pipelines.bench.row_store import Row, RowStore, row_key
from nitrogen.pipelines.sampling import Draws


@dataclass(frozen=True)
class ErrorAtCost:
    """The error of a setting, and what it costs in forwards of the full model."""

    error: float
    forwards: float


@dataclass(frozen=True)
class Looks:
    """What was looked at before; facts: what all of it depends on."""

    store: RowStore
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, models: Models, extract: Extract, folder: Path, search: str) -> Looks:
        """search: the module that looks, whose code the keys depend on."""
        facts = behind(models.data_digest, extract, search) | {"models": dict(models.digests)}
        return cls(RowStore(folder), facts)

    def at(self, described: Mapping[str, Any], measure: Callable[[], ErrorAtCost]) -> ErrorAtCost:
        key = row_key(described, self.facts)
        row = self.store.get(key) or self.store.put(Row(key, asdict(measure()), {}))
        return ErrorAtCost(**row.values)

    def target(self, models: Models, drawn: Draws) -> np.ndarray:
        """The teacher's 64-step pictures."""
        key = row_key({"reference": drawn.seeds, "labels": drawn.labels}, self.facts)
        row = self.store.get(key)
        if row is None:
            row = self.store.put(Row(key, {}, {"x_0": reference(models, drawn)}))
        return row.arrays["x_0"]
