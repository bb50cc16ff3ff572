"""One very large picture, region by region: its steps, its cache, and the memory of the process."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nitrogen.model.config import ArchConfig
from nitrogen.model.cost import CostModel
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.observation import Observation
from nitrogen.model.policies import Decision, no_exit
from nitrogen.model.predictor import Predictor
from nitrogen.model.request import Finished, Request
from nitrogen.model.sampler import Sampler
from nitrogen.pipelines.bench.memory import hand_back, peak_bytes, resident_bytes
from nitrogen.pipelines.bench.scaling_step import spread_plan

HUGE_PX, HUGE_BYTES, NUM_STEPS = 4096, 16 * 10**9, 4
MAPS_BESIDE = 6  # of the finest level, that a step holds at once beside the cache


@dataclass(frozen=True)
class RegionWise:
    """Everything once at the narrowest width, then a share of the regions at full width, evenly
    spread; the others are held."""

    active_share: float
    needs_predictor = True

    def decide(self, observation: Observation) -> Decision:
        b, rh, rw = observation.exited.shape
        active = spread_plan(b, (rh, rw), self.active_share).widths.to(observation.exited.device)
        first = (observation.step == 0)[:, None, None]
        return no_exit(torch.where(first, torch.ones_like(active), active))


def huge_picture(
    denoiser: Denoiser, predictor: Predictor, active_share: float, size: int = HUGE_PX
) -> dict[str, Any]:
    """A whole picture of size x size px in NUM_STEPS steps.

    peak_mib: what it adds to the process at its peak, cache included; process_mib: with what was
    resident before; within_16_gb: whether that is at most HUGE_BYTES (16 GB).
    Where too little memory is free nothing runs, and `skipped` says so.
    """
    needed, free = needed_bytes(denoiser.arch, size), free_bytes()
    if free is not None and free < needed:
        why = f"about {needed / 2**30:.1f} GiB must be free, got {free / 2**30:.1f}"
        return {"size": size, "skipped": why}
    sampler = Sampler(
        denoiser, RegionWise(active_share), predictor=predictor, image_size=(size, size)
    )
    step_ms: list[float] = []
    finished: list[Finished] = []

    def run() -> None:
        state = sampler.start([Request(0, 0, num_inference_steps=NUM_STEPS)])
        while state.live.num_samples:
            began = time.perf_counter()
            state = sampler.step(state)
            step_ms.append((time.perf_counter() - began) * 1e3)
        finished.extend(state.finished)

    hand_back()
    before = resident_bytes()
    peak = peak_bytes(run)
    process = None if peak is None or before is None else before + peak
    picture = finished[0]
    return {
        "size": size,
        "num_steps": NUM_STEPS,
        "active_share": [float((w > 0).double().mean()) for w in picture.widths],
        "ms": sum(step_ms),
        "step_ms": step_ms,
        "gflops": picture.flops / 1e9,
        "cache_mib": cache_bytes(denoiser.arch, size) / 2**20,
        "peak_mib": None if peak is None else peak / 2**20,
        "process_mib": None if process is None else process / 2**20,
        "within_16_gb": None if process is None else process <= HUGE_BYTES,
        "finite": bool(picture.x_0.isfinite().all()),
    }


def cache_bytes(arch: ArchConfig, size: int) -> int:
    """Of one picture: a residual a block, and attended, query, key and value where it attends."""
    cost = CostModel(arch, size, size)
    return 4 * sum(
        cost.rows(level) * arch.channels[level] * (5 if attends else 1)
        for level, attends in arch.blocks()
    )


def needed_bytes(arch: ArchConfig, size: int) -> int:
    """About what one picture takes at its peak."""
    finest = 4 * CostModel(arch, size, size).rows(0) * arch.channels[0]
    return cache_bytes(arch, size) + MAPS_BESIDE * finest


def free_bytes() -> int | None:
    """What the system says is available."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None
