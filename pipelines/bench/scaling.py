"""`nitrogen bench scaling`: how time, FLOPs and memory grow with the picture and the batch.

One denoising step of the teacher against one of the adaptive path, at the same share of active
regions: a plan in which every fourth region runs at full width and the others are held. Sizes and
batches that are done are kept; a run that was cut off goes on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from nitrogen.model.config import ArchConfig
from nitrogen.model.cost import CostModel
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.predictor import Predictor
from nitrogen.model.regions import HELD
from nitrogen.pipelines.bench.conditions import where
from nitrogen.pipelines.bench.figures import MIN_SAVED
from nitrogen.pipelines.bench.forecast import Forecast, Say
from nitrogen.pipelines.bench.huge import HUGE_PX, NUM_STEPS, huge_picture
from nitrogen.pipelines.bench.memory import peak_bytes
from nitrogen.pipelines.bench.row_store import Row, RowStore, row_key
from nitrogen.pipelines.bench.scaling_step import Step
from nitrogen.pipelines.code_digest import code_digests
from nitrogen.pipelines.metrics.timing import paired_speedup, time_callables

MAX_BATCH_PIXELS = 2**22
MAX_GROWTH = 1.2  # of the time per pixel, from 128 px to the largest
WORTH = 3.0  # of a step: the teacher's by rows, and by plain PyTorch at half the rate


class ScalingConfig(BaseModel):
    """sizes: px; batches: pictures a step; active_share: of the regions; repeats: timed steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sizes: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    active_share: float = Field(0.25, gt=0, le=1)
    repeats: int = Field(7, ge=2)
    huge: bool = True  # the 4,096 px picture

    @classmethod
    def quick(cls) -> ScalingConfig:
        return cls(sizes=(32, 64), batches=(1, 2), repeats=2, huge=False)

    def cells(self) -> list[tuple[int, int]]:
        """(size, batch) of every row."""
        return [
            (size, batch)
            for size in self.sizes
            for batch in self.batches
            if batch * size**2 <= MAX_BATCH_PIXELS
        ]


def run_scaling(config: ScalingConfig, arch: ArchConfig, folder: Path, say: Say) -> dict[str, Any]:
    """Rows of all sizes and batches, time per pixel over that at 128 px, and the large picture.

    folder: where rows are kept; they hold for one machine, its threads and kernels.
    """
    torch.manual_seed(0)
    denoiser = Denoiser(arch).eval().requires_grad_(False)
    predictor = Predictor(arch).eval().requires_grad_(False)
    kept = Kept(config, arch, RowStore(folder), Forecast(say))
    kept.expect()
    rows = [kept.row(denoiser, predictor, *cell) for cell in config.cells()]
    result = {
        "config": config.model_dump(mode="json"),
        "arch": arch.model_dump(mode="json"),
        "rows": rows,
        "per_pixel": per_pixel(rows),
    }
    if config.huge:
        result["huge"] = kept.huge(denoiser, predictor)
    return result


class Kept:
    """Rows in a store, and the time until all are there."""

    def __init__(
        self, config: ScalingConfig, arch: ArchConfig, store: RowStore, forecast: Forecast
    ):
        self.config, self.arch, self.store, self.forecast = config, arch, store, forecast
        self._facts = where() | {
            "arch": arch.model_dump(mode="json"), "active_share": config.active_share,
            "code": code_digests("nitrogen.pipelines.bench.scaling"),
        }  # fmt: skip

    def expect(self) -> None:
        """Tells the forecast what is not at hand."""
        calls = self.config.repeats + 2  # with the warm-up and the look at memory
        work = {
            self._name(size, batch): calls * WORTH * batch * self._full(size)
            for size, batch in self.config.cells()
            if not self.store.has(self._key(size, batch))
        }
        if self.config.huge and not self.store.has(self._key(HUGE_PX, None)):
            work[self._name(HUGE_PX, None)] = NUM_STEPS / 2 * self._full(HUGE_PX)
        self.forecast.expect(work)
        self.forecast.say(f"{len(work)} measurements to come")

    def row(
        self, denoiser: Denoiser, predictor: Predictor, size: int, batch: int
    ) -> dict[str, Any]:
        key = self._key(size, batch)
        found = self.store.get(key)
        if found is None:
            with self.forecast.working(self._name(size, batch)):
                step = Step.of(denoiser, predictor, size, batch, self.config.active_share)
                found = self.store.put(Row(key, measure(step, self.config.repeats), {}))
        return found.values

    def huge(self, denoiser: Denoiser, predictor: Predictor) -> dict[str, Any]:
        key = self._key(HUGE_PX, None)
        found = self.store.get(key)
        if found is not None:
            return found.values
        with self.forecast.working(self._name(HUGE_PX, None)):
            values = huge_picture(denoiser, predictor, self.config.active_share)
            if "skipped" not in values:
                self.store.put(Row(key, values, {}))
            return values

    def _key(self, size: int, batch: int | None) -> str:
        return row_key({"size": size, "batch": batch, "repeats": self.config.repeats}, self._facts)

    def _full(self, size: int) -> float:
        return float(CostModel(self.arch, size, size).full_flops)

    @staticmethod
    def _name(size: int, batch: int | None) -> str:
        return f"{size} px, batch {batch}" if batch else f"one picture of {size} px"


def measure(step: Step, repeats: int) -> dict[str, Any]:
    """One row: all paths timed side by side, and what each adds to memory at its peak."""
    batch, size = step.x.shape[:2]
    peaks = {name: peak_bytes(path) for name, path in step.paths().items()}
    timings = time_callables(step.paths(), repeats=repeats, warmup=1, images_per_call=batch)
    speedup = paired_speedup(timings["adaptive"], timings["teacher"])
    over_torch = paired_speedup(timings["adaptive"], timings["teacher_torch"])
    dense, adaptive = step.flops()
    flops = {"teacher": dense, "teacher_torch": dense, "adaptive": adaptive}
    return {
        "size": size,
        "batch": batch,
        "active_share": float((step.plan.widths > HELD).double().mean()),
        **{
            name: timing.to_dict() | {"gflops": flops[name] / 1e9}
            for name, timing in timings.items()
        },
        "speedup": speedup.to_dict(),
        "speedup_over_torch": over_torch.to_dict(),
        "conversion": conversion(speedup.value, adaptive / dense),
        "peak_mib": {name: None if p is None else p / 2**20 for name, p in peaks.items()},
        "cache_mib": step.cache_bytes / batch / 2**20,
        "ns_per_pixel": {
            name: timing.p50 * 1e6 / size**2 for name, timing in timings.items()
        },
    }  # fmt: skip


def conversion(speedup: float, flops_ratio: float) -> float | None:
    """How much of the saved arithmetic becomes saved time; None where next to none is saved."""
    saved = 1 - flops_ratio
    return None if saved < MIN_SAVED else (1 - 1 / speedup) / saved


def per_pixel(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Time per pixel of the largest picture over that at 128 px, batch 1: 1 is linear growth.

    kept: whether the adaptive path's is at most MAX_GROWTH.
    """
    single = {row["size"]: row["ns_per_pixel"] for row in rows if row["batch"] == 1}
    base = 128 if 128 in single else min(single)
    largest = max(single)
    growth = {name: single[largest][name] / single[base][name] for name in single[base]}
    return {
        "from": base, "to": largest, **growth, "bound": MAX_GROWTH,
        "kept": growth["adaptive"] <= MAX_GROWTH,
    }  # fmt: skip
