"""Ours and the static schedules of each tier, kept by key: searched, then judged, then chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from nitrogen.pipelines.bench.budget_search import tried_budgets
from nitrogen.pipelines.bench.ceilings import TIERS
from nitrogen.pipelines.bench.finalists import best_finalist, finalists
from nitrogen.pipelines.bench.judging import Judged
from nitrogen.pipelines.bench.kept_tuning import KeptTuning
from nitrogen.pipelines.bench.methods import Method
from nitrogen.pipelines.bench.relays import Place, relay_taken
from nitrogen.pipelines.bench.schedule_search import tried_schedules
from nitrogen.pipelines.bench.settings import SOLVER
from nitrogen.pipelines.bench.tuning import Tried, Tuning
from nitrogen.pipelines.bench.tuning_forecast import (
    FULL_MODEL_JUDGED,
    OURS,
    SCHEDULES,
    finalists_name,
    judged_alone,
    search_name,
)

SEARCHES: dict[str, Callable[[Tuning, str], list[Tried]]] = {
    OURS: tried_budgets, SCHEDULES: tried_schedules,
}  # fmt: skip


@dataclass(frozen=True)
class KeptTiers:
    """The choices for the tiers of one benchmark."""

    kept: KeptTuning

    def methods(self) -> list[Method]:
        """For each tier ours that saves most; the static schedule that does, and that of least
        error, for their field has whichever is better."""
        chosen = []
        for tier in TIERS:
            chosen.append(self._best(OURS, tier))
            chosen.append(schedule := self._best(SCHEDULES, tier))
            nearest = min(self._looks(SCHEDULES, tier), key=lambda look: look.error).method
            if nearest.described() != schedule.described():
                chosen.append(replace(nearest, name=f"{nearest.name}, nearest"))
        self.kept.contest.forecast.drop(FULL_MODEL_JUDGED)
        return chosen

    def _best(self, searched: str, tier: str) -> Method:
        hull, limit = self.kept.full_model, self.kept.ceiling(tier)
        found = finalists(self._looks(searched, tier), hull, limit, self._relay_of)
        name = finalists_name(searched, tier)
        if len(found) == 1:
            self.kept.contest.forecast.drop(name)
            return found[0]
        full_model = self._full_model
        long_run = full_model[max(full_model, key=_steps_by_solver)]
        judged = self.kept.judged(name, found)
        return found[best_finalist(judged, list(full_model.values()), long_run)]

    @cached_property
    def _full_model(self) -> dict[Method, Judged]:
        methods = judged_alone(self.kept.contest)
        return dict(zip(methods, self.kept.judged(FULL_MODEL_JUDGED, methods), strict=True))

    def _looks(self, searched: str, tier: str) -> list[Tried]:
        """All that the search looked at."""
        search = SEARCHES[searched]

        def looks() -> dict[str, Any]:
            found = search(self.kept.tuning, tier)
            return {"looks": [[one.error, one.spent, one.method.described()] for one in found]}

        config = self.kept.contest.config
        described = {
            "search": searched, "tier": tier, "ceiling": TIERS[tier],
            "overhead": self.kept.overhead, "moves": config.num_moves, "steps": config.tune_steps,
            "priced": config.num_priced, "spacings": self.kept.spacings.values(),
        }  # fmt: skip
        key = self.kept.key(described, search, "student")
        found = self.kept.values(search_name(searched, tier), key, looks)["looks"]
        return [Tried(error, spent, Method(**told)) for error, spent, told in found]

    def _relay_of(self, method: Method) -> Place:
        """Of ours the relay that takes over; of a schedule the relay whose strides it makes."""
        if method.group == "ours":
            return relay_taken(self.kept.contest.models, method)
        place: Place = method.setting.get("relay", False)
        return place


def _steps_by_solver(method: Method) -> tuple[bool, int]:
    return method.setting["solver"] == SOLVER, method.setting["num_steps"]
