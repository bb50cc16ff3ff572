"""`nitrogen bench frontier`: every method on the same seeds, in one run, resumable.

Quality comes first, row by row, and is kept by key; then all rows are timed together in rounds. A
second run finds what the first one left, also after kill -9.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nitrogen.kernels.cpu.library import load
from nitrogen.pipelines.bench.calibrate import Uniform, calibrate
from nitrogen.pipelines.bench.contenders import (
    FrontierConfig,
    contenders,
    controls_of,
    guided,
)
from nitrogen.pipelines.bench.controls import Trace
from nitrogen.pipelines.bench.exits import forward_passes_saved
from nitrogen.pipelines.bench.figures import Measured, Resamples
from nitrogen.pipelines.bench.memory import peak_bytes
from nitrogen.pipelines.bench.methods import Method, runner
from nitrogen.pipelines.bench.models import REPORT_SPLIT, TUNE_SPLIT, Models, pictures
from nitrogen.pipelines.bench.quality import (
    REFERENCE_SOLVER,
    REFERENCE_STEPS,
    Extract,
    Yardstick,
    reference,
    row_of,
    sample,
)
from nitrogen.pipelines.bench.rounds import part_of, time_rounds
from nitrogen.pipelines.bench.row_store import Row, RowStore, row_key
from nitrogen.pipelines.bench.summary import summarise
from nitrogen.pipelines.bench.tuning import TIERS, Tuning, searched_schedule, tuned_budget
from nitrogen.pipelines.code_digest import code_digests
from nitrogen.pipelines.report.provenance import commit, machine
from nitrogen.pipelines.sampling import Draws, draws

Say = Callable[[str], None]
HEADLINE = "headline: "  # a row again, over num_headline seeds


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
            "weights": models.digest, "seeds": [drawn.seeds[0], len(drawn)], "data": models.name,
            "labels": drawn.labels, "threads": torch.get_num_threads(),
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


def run_frontier(
    config: FrontierConfig, models: Models, folder: Path, extract: Extract, say: Say
) -> dict[str, Any]:
    """Everything of one data set, as JSON values. folder: where rows and rounds are kept."""
    contest = Contest.prepare(config, models, folder, extract, say)
    tuned, tune_drawn = tune(contest)
    methods = [*contenders(config, models), *tuned]
    ours = [method for method in tuned if method.group == "ours"]
    middle = next(method for method in ours if method.setting["tier"] == "middle")
    for method in ours:
        widths = contest.row(method).arrays["widths"]
        methods += controls_of(method, Trace(tuple(contest.drawn.seeds), widths))
    methods += guided(config, middle)
    rows = {method: contest.row(method) for method in distinct(methods)}
    times = {batch: timed(contest, list(rows), folder, batch) for batch in config.batches}
    memory = {method: memory_of(contest, method, row) for method, row in rows.items()}
    return {
        "format": 1,
        "dataset": models.name,
        "reference": f"teacher, {REFERENCE_SOLVER}, {REFERENCE_STEPS} steps",
        "hardware": machine(),
        "threads": torch.get_num_threads(),
        "load_1m": round(os.getloadavg()[0], 2),
        "commit": commit(),
        "config": config.model_dump(mode="json"),
        "rows": [shown(rows[m], times, contest.key(m), memory[m]) for m in rows],
        "headline": headline(contest, [*ours, *_teachers_of(ours, list(rows))]),
        "forward_passes_saved": exits(contest, tune_drawn),
        "calibration": calibration(contest),
        "summary": {
            str(batch): summarise(*measured(rows, contest, ms)) for batch, ms in times.items()
        },
    }  # fmt: skip


def tune(contest: Contest) -> tuple[list[Method], Draws]:
    """The tiers' settings of ours and of the static schedule, found on the validation split."""
    config, models, store = contest.config, contest.models, contest.store
    labels = pictures(models.data_uri, TUNE_SPLIT, models.arch.image_size)[1]
    drawn = draws("sweep", config.num_tune, labels, config.seed)
    target: list[np.ndarray] = []
    code = code_digests("nitrogen.pipelines.bench.tuning")
    facts = contest.facts | {"tune": drawn.seeds, "labels": drawn.labels, "code": code}
    found = []
    for tier in TIERS:
        for search in (tuned_budget, searched_schedule):
            described = {
                "search": search.__name__, "tier": tier, "ceiling": TIERS[tier],
                "moves": config.num_moves, "steps": config.tune_steps,
                "priced": config.num_priced,
            }  # fmt: skip
            key = row_key(described, facts)
            row = store.get(key)
            if row is None:
                contest.say(f"{search.__name__} for {tier}: {TIERS[tier]:g} forwards")
                if not target:
                    target.append(reference(models, drawn))
                tuning = Tuning(
                    models, drawn, target[0], config.tune_steps, config.num_moves,
                    num_priced=config.num_priced,
                )  # fmt: skip
                chosen = search(tuning, tier)
                row = store.put(Row(key, described | {"method": chosen.described()}, {}))
            found.append(Method(**row.values["method"]))
    return found, drawn


def timed(
    contest: Contest, methods: Sequence[Method], folder: Path, batch: int
) -> dict[str, np.ndarray]:
    """ms a picture of each timed row, [rounds], by the row's key."""
    chosen = {contest.key(m): runner(m, contest.models) for m in methods if m.timed}
    facts = row_key(where(), {})
    contest.say(f"timing {len(chosen)} rows at batch {batch}")
    return time_rounds(
        folder / f"rounds-{facts}.jsonl", chosen, contest.drawn, batch=batch,
        rounds=contest.config.rounds,
        on_round=lambda done, total: contest.say(f"batch {batch}: round {done} of {total}"),
    )  # fmt: skip


def memory_of(contest: Contest, method: Method, row: Row) -> float | None:
    """MiB that one call at the largest batch adds at its peak; kept beside the row."""
    if not method.timed:
        return None
    batch = max(contest.config.batches)
    # Another machine's allocator, or other kernels, take other memory.
    key = row_key({"memory": row.key, "batch": batch}, where())
    found = contest.store.get(key)
    if found is None:
        run, part = runner(method, contest.models), part_of(contest.drawn, 0, batch)
        peak = peak_bytes(partial(run, *part))
        found = contest.store.put(Row(key, {"mib": peak / 2**20 if peak is not None else None}, {}))
    return found.values["mib"]


def shown(
    row: Row, times: dict[int, dict[str, np.ndarray]], key: str, memory: float | None
) -> dict[str, Any]:
    """The row as it stands in the file."""
    ms = {batch: by_key.get(key) for batch, by_key in times.items()}
    return row.values | {
        "ms": {
            str(batch): None if taken is None else {
                "p50": float(np.percentile(taken, 50)), "p95": float(np.percentile(taken, 95)),
                "n": len(taken),
            }
            for batch, taken in ms.items()
        },
        "memory_mib": memory,
    }  # fmt: skip


def measured(
    rows: dict[Method, Row], contest: Contest, ms: dict[str, np.ndarray]
) -> tuple[list[Measured], Resamples]:
    """The unguided rows for the summary, and one set of resamples for all of them."""
    config = contest.config
    found = [
        Measured(
            name=method.name, group=method.group, mse=row.arrays["mse"],
            kid=row.values["kid"]["value"], kid_influence=row.arrays["kid_influence"],
            ms=ms.get(contest.key(method)), flops=row.values["gflops"] * 1e9,
            num_steps=int(method.setting["num_steps"]),
            fd=(row.values["fd_lite0"] or {}).get("value"), setting=dict(method.setting),
        )
        for method, row in rows.items()
        if method.guidance == 1
    ]  # fmt: skip
    return found, Resamples.draw(len(contest.drawn), config.rounds, config.resamples, config.seed)


def headline(contest: Contest, methods: Sequence[Method]) -> list[dict[str, Any]]:
    """These rows again over num_headline seeds, for fd_lite0; no MSE is read from them."""
    config = contest.config
    if config.num_headline <= config.num_images:
        return []
    labels = np.array(contest.drawn.labels)
    more = draws("evaluate", config.num_headline, labels, config.seed)
    facts = contest.facts | {"seeds": [more.seeds[0], len(more)], "labels": more.labels}
    wide = replace(contest, drawn=more, facts=facts)
    return [wide.row(replace(m, name=HEADLINE + m.name)).values for m in methods]


def _teachers_of(ours: Sequence[Method], rows: Sequence[Method]) -> list[Method]:
    """The teacher's rows at the steps of ours, by the same solver."""
    wanted = {(m.setting["num_steps"], m.setting["solver"]) for m in ours}
    return [
        m
        for m in rows
        if m.group == "teacher" and m.guidance == 1
        and (m.setting["num_steps"], m.setting["solver"]) in wanted
    ]  # fmt: skip


def exits(contest: Contest, tune_drawn: Draws) -> dict[str, Any]:
    """Forward passes saved by exit alone; kept by key."""
    config = contest.config
    described = {
        "exits": config.exit_steps, "thresholds": config.exit_thresholds,
        "images": config.exit_images,
    }  # fmt: skip
    code = code_digests("nitrogen.pipelines.bench.exits")
    key = row_key(described, contest.facts | {"tune": tune_drawn.seeds, "code": code})
    row = contest.store.get(key)
    if row is None:
        contest.say(f"exit alone, Euler, {config.exit_steps} steps")
        few = first(contest.drawn, config.exit_images)
        values = forward_passes_saved(
            contest.models, tune_drawn, few, config.exit_steps, config.exit_thresholds
        )
        row = contest.store.put(Row(key, values, {}))
    return row.values


def calibration(contest: Contest) -> dict[str, Any]:
    """Reliability of the predicted residual, and thresholds with a guarantee; kept by key.

    The validation seeds are more than the search has: the guarantee needs pictures.
    """
    config, models = contest.config, contest.models
    labels = pictures(models.data_uri, TUNE_SPLIT, models.arch.image_size)[1]
    known = draws("sweep", config.num_calibration, labels, config.seed)
    unseen = Draws(
        contest.drawn.labels[: config.num_calibration],
        contest.drawn.seeds[: config.num_calibration],
    )
    described = {
        "calibration": config.calibration_eps, "delta": config.calibration_delta,
        "pictures": config.num_calibration, "steps": max(config.ours_steps),
    }  # fmt: skip
    code = code_digests("nitrogen.pipelines.bench.calibrate")
    key = row_key(described, contest.facts | {"known": [known.seeds, known.labels], "code": code})
    row = contest.store.get(key)
    if row is None:
        contest.say("calibration of the predicted residual")
        values = calibrate(
            models, Uniform(), known, unseen, num_steps=max(config.ours_steps),
            eps=config.calibration_eps, delta=config.calibration_delta,
        )  # fmt: skip
        row = contest.store.put(Row(key, values, {}))
    return row.values


def provider() -> str:
    """Which kernels run, C++ with the digest of its sources or plain PyTorch: neither their bits
    nor their times may stand for each other's."""
    return load()[1]


def where() -> dict[str, Any]:
    """What a measured time or peak of memory holds for."""
    return {"machine": machine(), "threads": torch.get_num_threads(), "kernels": provider()}


def first(drawn: Draws, num: int) -> Draws:
    return Draws(drawn.labels[:num], drawn.seeds[:num])


def distinct(methods: Sequence[Method]) -> list[Method]:
    """The methods in order, each once: settings may coincide."""
    seen: dict[str, Method] = {}
    for method in methods:
        seen.setdefault(row_key(method.described(), {}), method)
    return list(seen.values())


def _digest(trace: Trace) -> str:
    return hashlib.sha256(trace.widths.tobytes()).hexdigest()
