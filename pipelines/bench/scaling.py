"""`nitrogen bench scaling`: how time, FLOPs and memory grow with the picture and the batch.

One denoising step of the teacher against one of the sampler, planned under a budget that pays for
the same share of active regions at every size: a quarter at full width, the others held. Sizes and
batches that are done are kept; a run that was cut off goes on.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
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
from nitrogen.pipelines.metrics.bootstrap import bootstrap
from nitrogen.pipelines.metrics.timing import paired_speedup, time_callables

MAX_BATCH_PIXELS = 2**22
MAX_GROWTH = 1.2  # of the time per pixel, from 128 px to the largest
WORTH = 3.0  # of a step: the teacher's by rows, and by plain PyTorch at half the rate


class ScalingConfig(BaseModel):
    """sizes: px; batches: pictures a step; active_share: of the regions; repeats: timed steps;
    growth_repeats: those of the time per pixel, about which something is decided."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sizes: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    active_share: float = Field(0.25, gt=0, le=1)
    repeats: int = Field(7, ge=2)
    growth_repeats: int = Field(20, ge=2)
    huge: bool = True  # the 4,096 px picture

    @classmethod
    def quick(cls) -> ScalingConfig:
        return cls(sizes=(32, 64), batches=(1, 2), repeats=2, growth_repeats=2, huge=False)

    def cells(self) -> list[tuple[int, int]]:
        """(size, batch) of every row."""
        return [
            (size, batch)
            for size in self.sizes
            for batch in self.batches
            if batch * size**2 <= MAX_BATCH_PIXELS
        ]

    def ends(self) -> tuple[int, int]:
        """The sizes between which the time per pixel is compared: 128 px where it is measured, else
        the smallest, and the largest."""
        return 128 if 128 in self.sizes else min(self.sizes), max(self.sizes)


def run_scaling(config: ScalingConfig, arch: ArchConfig, folder: Path, say: Say) -> dict[str, Any]:
    """Rows of all sizes and batches, time per pixel at the largest over that at 128 px, and the
    picture of HUGE_PX.

    folder: where rows are kept; they hold for one machine, its threads and kernels.
    """
    torch.manual_seed(0)
    denoiser = Denoiser(arch).eval().requires_grad_(False)
    predictor = Predictor(arch).eval().requires_grad_(False)
    kept = Kept(config, arch, RowStore(folder), Forecast(say))
    kept.expect()
    rows = [kept.row(denoiser, predictor, *cell) for cell in config.cells()]
    grown = kept.growth(denoiser, predictor)
    result = {
        "config": config.model_dump(mode="json"),
        "arch": arch.model_dump(mode="json"),
        "rows": rows,
        "per_pixel": grown,
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
        calls = self.config.repeats + 3  # with the warm-up, two steps before it, a look at memory
        work = {
            self._name(size, batch): calls * WORTH * batch * self._full(size)
            for size, batch in self.config.cells()
            if not self.store.has(self._key(size, batch))
        }
        ends = self.config.ends()
        if not self.store.has(self._key(ends[0], 1, ends[1])):
            grown = self.config.growth_repeats + 3
            work[self._growth(*ends)] = grown * WORTH * sum(map(self._full, ends))
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

    def growth(self, denoiser: Denoiser, predictor: Predictor) -> dict[str, Any]:
        ends = self.config.ends()
        key = self._key(ends[0], 1, ends[1])
        found = self.store.get(key)
        if found is None:
            with self.forecast.working(self._growth(*ends)):
                share, repeats = self.config.active_share, self.config.growth_repeats
                small, large = (Step.of(denoiser, predictor, size, 1, share) for size in ends)
                found = self.store.put(Row(key, per_pixel(small, large, repeats), {}))
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

    def _key(self, size: int, batch: int | None, to: int | None = None) -> str:
        repeats = self.config.growth_repeats if to else self.config.repeats
        cell = {"size": size, "batch": batch, "to": to, "repeats": repeats}
        return row_key(cell, self._facts)

    def _full(self, size: int) -> float:
        return float(CostModel(self.arch, size, size).full_flops)

    @staticmethod
    def _name(size: int, batch: int | None) -> str:
        return f"{size} px, batch {batch}" if batch else f"one picture of {size} px"

    @staticmethod
    def _growth(small: int, large: int) -> str:
        return f"time per pixel at {large} px over {small} px"


def measure(step: Step, repeats: int) -> dict[str, Any]:
    """One row: all paths timed side by side, and what each adds to memory at its peak. planning:
    the part of the adaptive step before its network, by itself."""
    batch, size = step.x.shape[:2]
    peaks = {name: peak_bytes(path) for name, path in step.paths().items()}
    timed = step.paths() | {"planning": step.planning}
    timings = time_callables(timed, repeats=repeats, warmup=1, images_per_call=batch)
    planning = timings.pop("planning")
    speedup = paired_speedup(timings["adaptive"], timings["teacher"])
    over_torch = paired_speedup(timings["adaptive"], timings["teacher_torch"])
    dense, adaptive = step.flops()
    flops = {"teacher": dense, "teacher_torch": dense, "adaptive": adaptive}
    return {
        "size": size,
        "batch": batch,
        "active_share": float((step.planning().plan.widths > HELD).double().mean()),
        **{
            name: timing.to_dict() | {"gflops": flops[name] / 1e9}
            for name, timing in timings.items()
        },
        "planning": planning.to_dict(),
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


def per_pixel(small: Step, large: Step, repeats: int) -> dict[str, Any]:
    """Time per pixel of a large picture over that of a small one, 1 is linear growth; both are
    timed in every repeat, which gives one ratio.

    By path the median ratio, under `intervals` with its 95 % interval, under `ratios` each. kept:
    whether the whole interval of the adaptive path is at most MAX_GROWTH.
    """
    paths = {f"from {name}": call for name, call in small.paths().items()}
    paths |= {f"to {name}": call for name, call in large.paths().items()}
    timings = time_callables(paths, repeats=repeats, warmup=1)
    pixels = small.x[..., 0].numel() / large.x[..., 0].numel()
    ratios = {
        name: timings[f"to {name}"].ms / timings[f"from {name}"].ms * pixels
        for name in small.paths()
    }
    grown = {name: bootstrap(ratio, partial(np.median, axis=-1)) for name, ratio in ratios.items()}
    return {
        "from": small.x.shape[1], "to": large.x.shape[1],
        **{name: interval.value for name, interval in grown.items()},
        "bound": MAX_GROWTH, "kept": grown["adaptive"].high <= MAX_GROWTH,
        "intervals": {name: interval.to_dict() for name, interval in grown.items()},
        "ratios": {name: ratio.tolist() for name, ratio in ratios.items()},
    }  # fmt: skip
