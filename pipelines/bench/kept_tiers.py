"""Ours and the static schedules of each tier: searched once for a folder, kept by key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from nitrogen.pipelines.bench.budget_search import tried_budgets
from nitrogen.pipelines.bench.ceilings import TIERS
from nitrogen.pipelines.bench.kept_tuning import KeptTuning
from nitrogen.pipelines.bench.methods import Method
from nitrogen.pipelines.bench.schedule_search import tried_schedules
from nitrogen.pipelines.bench.tuning import Tried, Tuning, most_saved
from nitrogen.pipelines.bench.tuning_forecast import OURS, SCHEDULES, search_name

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
            hull, limit = self.kept.full_model, self.kept.ceiling(tier)
            ours, schedules = (self._looks(searched, tier) for searched in SEARCHES)
            chosen.append(most_saved(ours, hull, limit).method)
            chosen.append(schedule := most_saved(schedules, hull, limit).method)
            nearest = min(schedules, key=lambda look: look.error).method
            if nearest.described() != schedule.described():
                chosen.append(replace(nearest, name=f"{nearest.name}, nearest"))
        return chosen

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
