"""What all rows of a benchmark share: models, seeds, the reference, and the store of rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nitrogen.pipelines.bench.conditions import behind
from nitrogen.pipelines.bench.controls import Trace
from nitrogen.pipelines.bench.forecast import Forecast, Say, picture_flops
from nitrogen.pipelines.bench.frontier_config import FrontierConfig
from nitrogen.pipelines.bench.methods import Method, runner
from nitrogen.pipelines.bench.models import REPORT_SPLIT, Models, pictures
from nitrogen.pipelines.bench.quality import (
    Extract,
    Yardstick,
    reference,
    reference_method,
    row_of,
    sample,
    spent_values,
)
from nitrogen.pipelines.bench.row_store import Row, RowStore, row_key
from nitrogen.pipelines.bench.twins import NUM_COMPARED, alike, by_rows, spent
from nitrogen.pipelines.sampling import Draws, draws

# What judging a picture is worth, at the assumed rate of FLOPs: 1,280 of them take 2.3 s through
# the feature network, 0.2 s in KID and 2.2 s in fd_lite0 on 2 slow cores.
JUDGED_FLOPS = 4e8


@dataclass(frozen=True)
class Contest:
    """What all rows share. labels: of the report split; drawn: pictures of them; facts: what every
    key depends on, beside the models that a row is made by; paired: whether pictures are compared
    with the reference's, which takes longer than many rows."""

    config: FrontierConfig
    models: Models
    labels: np.ndarray
    drawn: Draws
    yardstick: Yardstick
    store: RowStore
    facts: dict[str, Any]
    forecast: Forecast
    paired: bool = True

    @classmethod
    def prepare(
        cls, config: FrontierConfig, models: Models, folder: Path, extract: Extract, say: Say
    ) -> Contest:
        labels = pictures(models.data_uri, REPORT_SPLIT, models.arch.image_size)[1]
        drawn = draws("evaluate", config.num_images, labels, config.seed)
        facts = behind(models.data_digest, extract, "nitrogen.pipelines.bench.quality")
        say("features of the data")
        return cls(
            config, models, labels, drawn, Yardstick.of(models, extract), RowStore(folder / "rows"),
            facts, Forecast(say),
        )  # fmt: skip

    def say(self, text: str) -> None:
        self.forecast.say(text)

    def draw(self, num: int) -> Draws:
        """num pictures of the report split's labels, the first ones as `drawn`."""
        return draws("evaluate", num, self.labels, self.config.seed)

    def facts_of(self, *models: str) -> dict[str, Any]:
        """What a key depends on that these models and the reference, the teacher's, are in."""
        names = sorted({"teacher", *models})
        return self.facts | {"models": {name: self.models.digests[name] for name in names}}

    def seeds_of(self, method: Method) -> Draws:
        """Of the row: the first ones of all, fewer for controls and guided rows."""
        num = len(self.drawn)
        if method.group == "control":
            num = min(num, self.config.num_controls)
        if method.guidance != 1:
            num = min(num, self.config.num_guided)
        return first(self.drawn, num)

    def key(self, method: Method) -> str:
        """The row's key; a control's depends on the plans that it moves."""
        drawn = self.seeds_of(method)
        trace = row_key({"widths": _digest(method.trace)}, {}) if method.trace else None
        # A control of any kind is of the student; its oracle asks the teacher, as all rows do.
        more = {"seeds": [drawn.seeds[0], len(drawn)], "labels": drawn.labels, "trace": trace}
        return row_key(method.described(), self.facts_of(method.model) | more)

    def target(self, method: Method) -> np.ndarray:
        """The teacher's 64-step pictures of the row's seeds, drawn once."""
        wanted = self.seeds_of(method)
        method = reference_method(method.guidance)
        drawn, key = self.seeds_of(method), self.key(method)
        row = self.store.get(key)
        if row is None:
            with self.forecast.working(method.name):
                x_0 = reference(self.models, drawn, method.guidance)
                row = self.store.put(Row(key, method.described(), {"x_0": x_0}))
        self.forecast.drop(method.name)
        return row.arrays["x_0"][: len(wanted)]

    def row(self, method: Method) -> Row:
        """The row, from the store or measured now; its twin's pictures are its own."""
        found = self.store.get(self.key(method))
        if found is None:
            found = self._shared(method) or self._sampled(method)
        self.forecast.drop(method.name)
        return found

    def _sampled(self, method: Method) -> Row:
        target = self.target(method) if self.paired else None
        with self.forecast.working(method.name):
            sampled = sample(runner(method, self.models), self.seeds_of(method))
            values, arrays = row_of(method, sampled, target, self.yardstick)
            key = self.key(method)
            return self.store.put(Row(key, {"key": key, **values}, arrays))

    def _shared(self, method: Method) -> Row | None:
        """The quality of the row's twin, if both make the same pictures of the first seeds."""
        twin = by_rows(method)
        if twin is None:
            return None
        whole = self.row(twin)
        with self.forecast.working(method.name):
            few = first(self.seeds_of(method), NUM_COMPARED)
            mine, theirs = (sample(runner(m, self.models), few) for m in (method, twin))
            cost = spent(mine, theirs, whole)
            if cost is None or not alike(mine, theirs):
                self.say(f"{method.name} makes other pictures than {twin.name}: sampled itself")
                return None
            values = whole.values | method.described() | spent_values(**cost)
            values |= {"key": self.key(method), "quality_of": twin.name}
            arrays = {n: a for n, a in whole.arrays.items() if n != "widths"} | cost
            return self.store.put(Row(values["key"], values, arrays))

    def expect(self, methods: Iterable[Method]) -> None:
        """Rows to come that are not in the store, and their references."""
        work: dict[str, float] = {}
        for method in methods:
            if self.store.has(self.key(method)):
                continue
            work[method.name] = self.work(method)
            asked = reference_method(method.guidance)
            if self.paired and not self.store.has(self.key(asked)):
                work[asked.name] = self.work(asked)
        self.forecast.expect(work)

    def work(self, method: Method) -> float:
        """FLOPs of a row: of its pictures and of judging them."""
        one = picture_flops(method, self.models)
        if by_rows(method) is not None:
            return 2 * NUM_COMPARED * one
        judged = 0.0 if method.group == "reference" else JUDGED_FLOPS
        return len(self.seeds_of(method)) * (one + judged)


def first(drawn: Draws, num: int) -> Draws:
    return Draws(drawn.labels[:num], drawn.seeds[:num])


def _digest(trace: Trace) -> str:
    return hashlib.sha256(trace.widths.tobytes()).hexdigest()
