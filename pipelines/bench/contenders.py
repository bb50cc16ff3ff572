"""The rows of the benchmark: which methods at which settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from nitrogen.model.config import NUM_WIDTHS
from nitrogen.pipelines.bench.controls import CONTROLS, Trace
from nitrogen.pipelines.bench.frontier_config import FrontierConfig
from nitrogen.pipelines.bench.methods import Method, slices
from nitrogen.pipelines.bench.models import Models
from nitrogen.pipelines.bench.relays import Place, all_places, strides_at
from nitrogen.pipelines.bench.row_store import row_key
from nitrogen.pipelines.bench.settings import SOLVER, budget_method, relay_method, schedule_method


def contenders(config: FrontierConfig, models: Models) -> Iterator[Method]:
    """Every row that needs no search and no other row."""
    for solver, steps in config.teacher_steps.items():
        for n in steps:
            yield dense("teacher", "teacher", solver, n)
    for name in models.thin:
        for n in config.thin_steps:
            yield dense(name, "thin", SOLVER, n)
    for n in config.static_steps:
        yield from (schedule_method(slices(quarters, n)) for quarters in (1, 2, 3, 4))
        for place in all_places(models):
            relays = (strides_at(models, n, quarters, place) for quarters in (1, 2, 3, 4))
            yield from (relay_method(widths, place=place) for widths in relays if widths)
    yield from caches(config, models)
    for n in config.ours_steps:
        if n not in config.static_steps:  # what the predictor's share is taken of
            yield schedule_method(slices(4, n))
        yield from (budget_method(n, budget, served=True) for budget in config.budgets)
        yield from (threshold_method(n, threshold) for threshold in config.thresholds)
        setting = {"solver": SOLVER, "num_steps": n}
        yield Method(f"predictor ignored, {n} steps", "ignored", "ignored", setting)


def caches(config: FrontierConfig, models: Models) -> Iterator[Method]:
    """Training-free baselines on the teacher."""
    for n in config.cache_steps:
        base = {"model": "teacher", "solver": SOLVER, "num_steps": n}
        if models.arch.num_levels > 1:
            for interval in (2, 3):
                yield Method(
                    f"DeepCache-like N={interval}, {n} steps", "cache", "deep_cache",
                    base | {"interval": interval},
                )  # fmt: skip
        for threshold in config.tea_thresholds:
            yield Method(
                f"TeaCache-like {threshold:g}, {n} steps", "cache", "tea_cache",
                base | {"threshold": threshold},
            )  # fmt: skip
        for share in config.ras_shares:
            yield Method(
                f"RAS-like {share:g}, {n} steps", "cache", "ras",
                base | {"share": share, "warm_up": max(2, n // 4)},
            )  # fmt: skip


def dense(model: str, group: str, solver: str, num_steps: int, guidance: float = 1.0) -> Method:
    setting = {"model": model, "solver": solver, "num_steps": num_steps}
    guided = "" if guidance == 1 else f", guidance {guidance:g}"
    return Method(f"{model} {solver} {num_steps}{guided}", group, "dense", setting, guidance)


def threshold_method(num_steps: int, threshold: float) -> Method:
    setting = {
        "policy": "threshold", "threshold": threshold, "num_steps": num_steps, "solver": SOLVER,
    }  # fmt: skip
    return Method(f"ours threshold {threshold:g}, {num_steps} steps", "ours", "policy", setting)


def guided(config: FrontierConfig, ours: Method) -> Iterator[Method]:
    """One row of ours under guidance, and the teacher's beside it."""
    if config.guidance in (0.0, 1.0):
        return
    weight = config.guidance
    name = f"{ours.name}, guidance {weight:g}"
    yield Method(name, "ours", ours.kind, _untiered(ours.setting), weight)
    for n in (6, 8, 12):
        yield dense("teacher", "teacher", SOLVER, n, weight)


def at_full_width(models: Models, ours: Sequence[Method]) -> Iterator[Method]:
    """The student at full width, by relay too, and the teacher at the steps of ours: whether the
    student is inferior before anything is saved is judged there."""
    for n in sorted({method.setting["num_steps"] for method in ours}):
        yield schedule_method(slices(NUM_WIDTHS, n))
        relays = ((strides_at(models, n, NUM_WIDTHS, at), at) for at in all_places(models))
        yield from [relay_method(whole, place=at) for whole, at in relays if whole][:1]
        yield dense("teacher", "teacher", SOLVER, n)


def controls_of(ours: Method, trace: Trace, relay: Place) -> Iterator[Method]:
    """The controls for where: ours's widths at other positions. relay: the one that ours had, which
    without its budget could not be told."""
    kept = {key: value for key, value in _untiered(ours.setting).items() if key != "served"}
    base = kept | {"of": ours.name, "budget": None, "relay": relay}
    for how in CONTROLS:
        yield Method(
            f"{how} for {ours.name}", "control", "control", base | {"how": how},
            timed=how != "oracle", trace=trace,
        )  # fmt: skip


def _untiered(setting: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in setting.items() if key != "tier"}


def distinct(methods: Sequence[Method]) -> list[Method]:
    """The methods in order, each once: settings may coincide."""
    seen: dict[str, Method] = {}
    for method in methods:
        seen.setdefault(row_key(method.described(), {}), method)
    return list(seen.values())
