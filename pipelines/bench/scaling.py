"""`nitrogen bench scaling`: how time, FLOPs and memory grow with the picture and the batch.

One denoising step of the teacher's dense path against one of the adaptive path, at the same network
with random weights (time does not depend on them) and at the same share of active regions: a plan
in which every fourth region runs at full width and the others are held.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from nitrogen.model.cache import Cache, empty_cache
from nitrogen.model.config import NUM_WIDTHS, ArchConfig
from nitrogen.model.cost import CostModel
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.observation import new_past, region_features
from nitrogen.model.predictor import Predictor, predictor_flops
from nitrogen.model.regions import HELD, Plan
from nitrogen.pipelines.bench.figures import MIN_SAVED
from nitrogen.pipelines.bench.memory import peak_bytes
from nitrogen.pipelines.metrics.timing import paired_speedup, time_callables

MAX_BATCH_PIXELS = 2**22
HUGE_PX, HUGE_BYTES = 4096, 16 * 2**30
Say = Callable[[str], None]


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


def run_scaling(config: ScalingConfig, arch: ArchConfig, say: Say) -> dict[str, Any]:
    """Rows of all sizes and batches, time per pixel over that at 128 px, and the large picture."""
    torch.manual_seed(0)
    denoiser = Denoiser(arch).eval().requires_grad_(False)
    predictor = Predictor(arch).eval().requires_grad_(False)
    rows = []
    for size in config.sizes:
        for batch in config.batches:
            if batch * size**2 <= MAX_BATCH_PIXELS:
                say(f"{size} px, batch {batch}")
                rows.append(measure(config, Step.of(denoiser, predictor, size, batch, config)))
    result = {
        "config": config.model_dump(mode="json"),
        "arch": arch.model_dump(mode="json"),
        "rows": rows,
        "per_pixel": per_pixel(rows),
    }
    if config.huge:
        say(f"one picture of {HUGE_PX} px")
        result["huge"] = huge_picture(config, denoiser, predictor)
    return result


@dataclass(frozen=True)
class Step:
    """One step of both paths on the same pictures."""

    denoiser: Denoiser
    predictor: Predictor
    x: torch.Tensor  # [b, size, size, c]
    cache: Cache
    plan: Plan

    @classmethod
    def of(
        cls, denoiser: Denoiser, predictor: Predictor, size: int, batch: int, config: ScalingConfig
    ) -> Step:
        arch = denoiser.arch
        cost = CostModel(arch, size, size)
        x = torch.randn(batch, size, size, arch.image_channels)
        plan = spread_plan(batch, cost.grid, config.active_share)
        return cls(denoiser, predictor, x, empty_cache(arch, batch, size, size), plan)

    @property
    def cost(self) -> CostModel:
        return CostModel(self.denoiser.arch, self.x.shape[1], self.x.shape[2])

    @property
    def labels(self) -> torch.Tensor:
        return torch.zeros(len(self.x), dtype=torch.int64)

    @torch.no_grad()
    def dense(self) -> torch.Tensor:
        """The teacher's step."""
        return self.denoiser(self.x, torch.ones(len(self.x)), self.labels)[0]

    @torch.no_grad()
    def adaptive(self) -> torch.Tensor:
        """The predictor's answer, then the network on the active regions."""
        sigma, b = torch.ones(len(self.x)), len(self.x)
        features = region_features(
            self.x, self.x, sigma, sigma / 2, new_past(b, self.cost.grid), torch.ones(b),
            self.denoiser.arch.sigma_data,
        )  # fmt: skip
        self.predictor(features, self.labels)
        out, _ = self.denoiser(self.x, sigma, self.labels, plan=self.plan, cache=self.cache)
        return out

    @property
    def cache_bytes(self) -> int:
        return sum(part.numel() * part.element_size() for part in self.cache.maps())

    def flops(self) -> tuple[int, int]:
        """Of one picture: the dense step, and the adaptive one with its predictor."""
        cost = self.cost
        regions = int(cost.region_flops[self.plan.widths[0]].sum())
        predicted = predictor_flops(cost.arch, cost.num_regions)
        return cost.full_flops, cost.fixed_flops + regions + predicted


def spread_plan(batch: int, grid: tuple[int, int], share: float) -> Plan:
    """A share of the regions at full width, evenly spread; the others held: what exits leave."""
    num = grid[0] * grid[1]
    at = np.floor(np.arange(num) * share + 1e-9)
    active = torch.from_numpy(np.diff(at, prepend=-1.0) > 0)
    widths = torch.where(active, NUM_WIDTHS, HELD).view(1, *grid)
    return Plan(widths.expand(batch, -1, -1).contiguous())


def measure(config: ScalingConfig, step: Step) -> dict[str, Any]:
    """One row: both paths timed side by side, and what each adds to memory at its peak."""
    batch, size = step.x.shape[:2]
    peaks = {"teacher": peak_bytes(step.dense), "adaptive": peak_bytes(step.adaptive)}
    timings = time_callables(
        {"teacher": step.dense, "adaptive": step.adaptive}, repeats=config.repeats, warmup=1,
        images_per_call=batch,
    )  # fmt: skip
    speedup = paired_speedup(timings["adaptive"], timings["teacher"])
    dense, adaptive = step.flops()
    return {
        "size": size,
        "batch": batch,
        "active_share": float((step.plan.widths > HELD).double().mean()),
        "teacher": timings["teacher"].to_dict() | {"gflops": dense / 1e9},
        "adaptive": timings["adaptive"].to_dict() | {"gflops": adaptive / 1e9},
        "speedup": speedup.to_dict(),
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
    """Time per pixel of the largest picture over that at 128 px, batch 1: 1 is linear growth."""
    single = {row["size"]: row["ns_per_pixel"] for row in rows if row["batch"] == 1}
    base = 128 if 128 in single else min(single)
    largest = max(single)
    return {
        "from": base,
        "to": largest,
        **{name: single[largest][name] / single[base][name] for name in ("teacher", "adaptive")},
    }


def huge_picture(
    config: ScalingConfig, denoiser: Denoiser, predictor: Predictor, size: int = HUGE_PX
) -> dict[str, Any]:
    """One step of one picture of 4,096 px over its active regions, and the peak of the process.

    The cache is part of the peak: it is made inside the measured call.
    """
    made: list[dict[str, Any]] = []

    def step() -> None:
        one = Step.of(denoiser, predictor, size, 1, config)
        timing = time_callables({"adaptive": one.adaptive}, repeats=1, warmup=0)["adaptive"]
        made.append({"ms": timing.p50, "cache_mib": one.cache_bytes / 2**20})

    peak = peak_bytes(step)
    return {
        "size": size,
        **made[0],
        "peak_mib": None if peak is None else peak / 2**20,
        "within_16_gib": None if peak is None else peak <= HUGE_BYTES,
    }
