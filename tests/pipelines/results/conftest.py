"""Benchmark files as the commands of `bench` leave them, with made-up numbers."""

from __future__ import annotations

import copy
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nitrogen.pipelines.bench.charged import charged
from nitrogen.pipelines.bench.contenders import FrontierConfig, at_full_width, contenders, dense
from nitrogen.pipelines.bench.controls import CONTROLS
from nitrogen.pipelines.bench.figures import Measured, Resamples
from nitrogen.pipelines.bench.methods import Method
from nitrogen.pipelines.bench.quality import psnr
from nitrogen.pipelines.bench.settings import SOLVER, budget_method, schedule_method
from nitrogen.pipelines.bench.summary import summarise
from nitrogen.pipelines.bench.twins import BY_ROWS, with_twins
from nitrogen.pipelines.metrics.bootstrap import bootstrap
from nitrogen.pipelines.results.files import BenchFile

FULL_MS, FULL_GFLOPS = 6.0, 0.05
MODELS = SimpleNamespace(
    thin={"thin quarter": None}, arch=SimpleNamespace(num_levels=2),
    student=SimpleNamespace(relay=None),
)  # fmt: skip


def methods(config: FrontierConfig) -> list[Method]:
    """Each once: twins of two methods may coincide."""
    return list({method.name: method for method in with_twins(list(alone(config)))}.values())


def alone(config: FrontierConfig) -> Iterator[Method]:
    yield from contenders(config, MODELS)
    tuned = {"low": (6, 0.5), "middle": (8, 0.62), "high": (10, 0.8)}
    yield from at_full_width(MODELS, [budget_method(*some) for some in tuned.values()])
    for tier, (steps, budget) in tuned.items():
        ours = budget_method(steps, budget, 1e-4, tier)
        yield ours
        yield schedule_method([1, 2, 2, 3, 4, 4][:steps] + [4] * (steps - 6), tier)
        setting = {"num_steps": steps, "solver": SOLVER, "of": ours.name}
        for how in CONTROLS:
            yield Method(f"{how} for {ours.name}", "control", "control", setting | {"how": how},
                         timed=how != "oracle")  # fmt: skip
    yield dense("teacher", "teacher", SOLVER, 8, 2.0)


def cost(method: Method) -> float:
    """Forward equivalents, roughly."""
    s, n = method.setting, float(method.setting["num_steps"])
    if method.group == "teacher":
        return (2 * n - 1 if s["solver"] == "heun" else n) * (2 if method.guidance != 1 else 1)
    if method.group == "thin":
        return n * 0.35
    if method.group == "static":
        return float(sum([0.0, 0.39, 0.59, 0.8, 1.0][w] for w in s["widths"]))
    if method.group == "cache":
        return n * {2: 0.75, 3: 0.66}.get(s.get("interval"), 0.7)
    if s.get("policy") == "threshold":
        return n * 0.8
    if s.get("budget"):
        return n * float(s["budget"])
    return {"ours low": 3.0, "ours middle": 5.0, "ours high": 8.0}.get(s.get("of"), n)


def error(method: Method, speedup: float) -> float:
    """Mean squared error as a falling function of what was spent."""
    s, spent = method.setting, cost(method)
    if method.group == "teacher":
        order = {"euler": 1.2, "heun": 1.0, "dpmpp_2m": 1.0, "unipc": 0.97}[s["solver"]]
        return 0.09 * order * spent ** (-1.1 if s["solver"] == "euler" else -1.9) + 3e-5
    worth = {"thin": 0.9, "cache": 1.05, "static": 1.35, "ours": speedup}.get(method.group, 1.0)
    if method.group == "control":
        worth = speedup * {"oracle": 1.1, "shuffled": 0.95}.get(s["how"], 0.88)
    return float(0.09 * (spent * worth) ** -1.9 + (8e-3 if method.group == "thin" else 4e-4))


def frontier(
    config: FrontierConfig, *, speedup: float = 1.8, fd: bool = True, seed: int = 0,
    unipc: float = 1.0,
) -> dict[str, Any]:  # fmt: skip
    """A whole file. speedup: how much further a forward of ours goes than one of the teacher;
    unipc: what its step costs, in steps of other solvers."""
    generator = np.random.default_rng(seed)
    n = config.num_images
    easy = generator.lognormal(0, 0.6, n)
    rows: list[dict[str, Any]] = []
    found: dict[int, list[Measured]] = {batch: [] for batch in config.batches}
    mood = {batch: generator.uniform(1, 1.15, config.rounds) for batch in config.batches}
    for method in methods(config):
        plain = 1.6 if method.operators == "torch" else 1.0
        # Twins make the same pictures.
        own = np.random.default_rng(zlib.crc32(method.name.removesuffix(BY_ROWS).encode()))
        mse = error(method, speedup) * easy * own.lognormal(0, 0.2, n)
        kid = 4.0 + 160 * float(mse.mean()) + 0.1 * own.normal()
        influence = own.normal(size=n)
        distance = 1000 + 3e4 * float(mse.mean()) if fd else None
        gflops = FULL_GFLOPS * cost(method)
        row: dict[str, Any] = {
            **method.described(), "key": f"{len(rows):020d}", "n": n,
            "mse": bootstrap(mse, resamples=100).to_dict(),
            "psnr_db": float(psnr(mse).mean()),
            "kid": {"value": kid, "low": kid - 0.3, "high": kid + 0.3, "n": n},
            "fd_lite0": distance
            and {"value": distance, "low": distance - 30, "high": distance + 30, "n": n},
            "gflops": gflops, "gflops_max": gflops * 1.02,
            "nfe": float(method.setting["num_steps"]), "ms": {}, "memory_mib": 20.0,
            "operators": method.operators,
        }  # fmt: skip
        for batch in config.batches:
            ms = None
            if method.timed:
                each = plain * cost(method) * FULL_MS * {1: 1.0}.get(batch, 0.5)
                each *= unipc if method.setting.get("solver") == "unipc" else 1.0
                ms = each * mood[batch] * generator.lognormal(0, 0.01, config.rounds)
            row["ms"][str(batch)] = ms is None or {
                "p50": float(np.median(ms)), "p95": float(np.percentile(ms, 95)), "n": len(ms),
            }  # fmt: skip
            if ms is None:
                row["ms"][str(batch)] = None
            if method.guidance == 1:
                found[batch].append(
                    Measured(
                        method.name, method.group, mse, kid, influence - influence.mean(), ms,
                        gflops * 1e9, int(method.setting["num_steps"]), distance,
                        dict(method.setting), method.operators,
                    )
                )  # fmt: skip
        rows.append(row)
    resamples = Resamples.draw(n, config.rounds, config.resamples)
    wide = [
        row | {"name": "headline: " + row["name"], "n": config.num_headline,
               "fd_lite0": row["fd_lite0"] | {"n": config.num_headline}}
        for row in rows
        if fd and (row["name"] in ("ours low", "ours middle", "ours high")
        or row["name"] in tuple(f"teacher {SOLVER} {k}, by rows" for k in (6, 8, 10)))
    ]  # fmt: skip
    saved = {"value": 0.31, "low": 0.28, "high": 0.34, "n": config.exit_images}
    kept = {"value": 0.06, "low": 0.05, "high": 0.07, "n": 4000}
    return {
        "format": 2, "dataset": "emoji64", "reference": "teacher, dpmpp_2m, 64 steps",
        "hardware": "AMD EPYC 7763 64-Core Processor, 2 cores", "threads": 2, "load_1m": 2.0,
        "commit": "0123456789ab", "date": "2026-11-26T04:00:00+00:00",
        "config": config.model_dump(mode="json"), "rows": rows, "headline": wide,
        "forward_passes_saved": {
            "threshold": 1e-4, "denoiser": "teacher", "num_steps": 50, "solver": "euler",
            "regions": saved, "samples": saved | {"value": 0.1, "low": 0.05, "high": 0.2},
            "psnr_db": saved | {"value": 36.0, "low": 35.5, "high": 36.6},
            "psnr_db_pooled": saved | {"value": 34.8, "low": 34.1, "high": 35.6}, "holds": True,
            "n": config.exit_images,
        },
        "calibration": {
            "num_steps": 12, "n": 512, "n_calibration": 512, "reliability": {"rows": [
                {"predicted": 0.002, "actual": 0.0019, "low": 0.0018, "high": 0.0021, "n": 2048},
            ]},
            "thresholds": [
                {"value": 2e-4, "eps": 1e-3, "delta": 0.1, "unseen": kept, "holds": True},
                {"value": None, "eps": 1e-2, "delta": 0.1},
            ],
            "ranking": {"value": 0.6, "n": 6000},
        },
        "summary": {
            str(batch): summarise(charged(found[batch]), resamples) for batch in config.batches
        },
        "models": {
            "teacher": {"parameters": 2_000_000, "sha256": "a" * 64},
            "student": {"parameters": 2_050_000, "sha256": "b" * 64},
        },
        "command": "nitrogen bench frontier --out bench/frontier.json",
    }  # fmt: skip


def attack(num_seeds: int = 10_000, above: bool = False) -> dict[str, Any]:
    one = {
        "max_gflops": 0.31, "amplification": 1.05, "share_of_ceiling": 0.99,
        "never_above_ceiling": not above, "n": num_seeds, "extra_region_steps": 2.0,
        "by_thirds": [0.5, 0.5, 1.0], "from_holds": 1.5, "from_widths": 0.5,
    }  # fmt: skip
    limit = {
        "mean_gflops": 0.29,
        "full_gflops": 0.6,
        "ceiling_gflops": 0.312,
        "attacks": {"seeds": one, "evolution": one | {"n": 64}, "gradient": one | {"n": 16}},
    }
    return {
        "hardware": "AMD EPYC", "threads": 2, "commit": "0123456789ab", "no budget": limit,
        "budget": limit, "config": {"num_steps": 12}, "command": "nitrogen bench attack --out a",
    }  # fmt: skip


def scaling() -> dict[str, Any]:
    def row(size: int, batch: int) -> dict[str, Any]:
        ms = size**2 * 1e-4
        timed = {"ms_p50": ms, "ms_p95": ms * 1.1, "n": 7, "gflops": ms / 10}
        return {
            "size": size, "batch": batch, "active_share": 0.25, "teacher": timed,
            "adaptive": timed | {"ms_p50": ms / 2}, "speedup": {"value": 2.0, "low": 1.9,
            "high": 2.1, "n": 7}, "conversion": 0.8, "peak_mib": {"teacher": 10.0,
            "adaptive": None}, "cache_mib": 2.0, "ns_per_pixel": {"teacher": 100, "adaptive": 50},
        }  # fmt: skip

    return {
        "hardware": "AMD EPYC", "threads": 2, "commit": "0123456789ab", "config": {}, "arch": {},
        "rows": [row(size, batch) for size in (32, 128, 1024) for batch in (1, 2)],
        "per_pixel": {"from": 128, "to": 1024, "teacher": 1.3, "adaptive": 1.15},
        "huge": {"size": 4096, "ms": 30_000.0, "cache_mib": 900.0, "peak_mib": 4000.0,
                 "within_16_gb": True},
        "command": "nitrogen bench scaling --out s",
    }  # fmt: skip


def ablation(n: int = 300) -> dict[str, Any]:
    def cell(rmse: float, over: float | None = None) -> dict[str, Any]:
        one = {"value": rmse, "low": rmse - 1e-3, "high": rmse + 1e-3, "n": n}
        found = {"rmse": one, "kid": one, "gflops": 1.0, "share": 0.5, "n": n}
        if over is not None:
            found["over"] = {"value": over, "low": over - 2e-3, "high": over + 2e-3, "n": n}
        return found

    return {
        "hardware": "AMD EPYC", "threads": 2, "commit": "0123456789ab", "dataset": "emoji64",
        "num_steps": 6, "num_images": 16_000, "settings": ["full width", "budget 0.3"],
        "teacher": cell(0.05),
        "arms": [
            {"name": "everything", "against": None, "changed": {},
             "cells": {"full width": cell(0.06), "budget 0.3": cell(0.09)}},
            {"name": "no penalty", "against": "everything", "changed": {"gating_penalty": 0.0},
             "cells": {"full width": cell(0.0605, 5e-4), "budget 0.3": cell(0.1, 0.01)}},
            {"name": "no distillation", "against": "everything", "changed": {"distilled": False},
             "cells": {"full width": cell(0.05, -0.01),
                       "budget 0.3": {"rmse": None, "reason": "below the cheapest plan"}}},
        ],
        "command": "nitrogen bench ablation --out a",
    }  # fmt: skip


@pytest.fixture(scope="session")
def small() -> FrontierConfig:
    """As `bench frontier` at full size, with few settings of each method."""
    return FrontierConfig(
        teacher_steps={"euler": (8, 16), "heun": (4,), "dpmpp_2m": (4, 6, 8, 10, 12, 20),
                       "unipc": (5, 9)},
        static_steps=(8,), cache_steps=(8, 12), tea_thresholds=(0.1,), ras_shares=(0.5,),
        budgets=(0.45,), thresholds=(3e-4,), ours_steps=(8, 12), resamples=100, num_images=300,
    )  # fmt: skip


@pytest.fixture(scope="session")
def result(small: FrontierConfig) -> dict[str, Any]:
    """The file of a benchmark that ours wins."""
    return frontier(small)


@pytest.fixture
def file(result: dict[str, Any], tmp_path: Path) -> BenchFile:
    """It, to be changed."""
    return BenchFile(tmp_path / "emoji.json", "frontier", copy.deepcopy(result), "emoji64")


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str, dict[str, Any]], Path]:
    def write(name: str, content: dict[str, Any]) -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(content))
        return path

    return write


@pytest.fixture(scope="session")
def made() -> SimpleNamespace:
    return SimpleNamespace(attack=attack, scaling=scaling, ablation=ablation, frontier=frontier)
