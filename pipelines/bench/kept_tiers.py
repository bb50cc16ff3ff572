"""Ours and the static schedules of each tier, kept by key: searched, then judged, then chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from nitrogen.pipelines.bench.budget_search import tried_budgets
from nitrogen.pipelines.bench.ceilings import TIERS
from nitrogen.pipelines.bench.finalists import Judged, best_finalist, finalists
from nitrogen.pipelines.bench.kept_tuning import KeptTuning
from nitrogen.pipelines.bench.methods import Method
from nitrogen.pipelines.bench.quality import squared_errors
from nitrogen.pipelines.bench.relays import Place, relay_taken
from nitrogen.pipelines.bench.schedule_search import tried_schedules
from nitrogen.pipelines.bench.tuning import Tried, Tuning
from nitrogen.pipelines.bench.tuning_forecast import (
    FULL_MODEL_JUDGED,
    finalists_name,
    search_name,
)

Search = Callable[[Tuning, str], list[Tried]]


@dataclass(frozen=True)
class KeptTiers:
    """The choices for the tiers of one benchmark."""

    tuned: KeptTuning

    def methods(self) -> list[Method]:
        """Ours and the static schedules in each tier."""
        return [
            method for tier in TIERS for search in (tried_budgets, tried_schedules)
            for method in self._chosen(search, tier)
        ]  # fmt: skip

    def _chosen(self, search: Search, tier: str) -> list[Method]:
        """What saves most within the tier; of static schedules also that of least error, for their
        field has whichever is better."""
        settings, nearest = self._searched(search, tier)
        best = settings[self._best(search, tier, settings) if len(settings) > 1 else 0]
        if search is tried_budgets or nearest.described() == best.described():
            return [best]
        return [best, replace(nearest, name=f"{nearest.name}, nearest")]

    def _searched(self, search: Search, tier: str) -> tuple[list[Method], Method]:
        """The finalists of a search, the best first, and the setting of least error."""

        def methods() -> dict[str, Any]:
            tuning = self.tuned.search
            looks = search(tuning, tier)
            best = finalists(looks, tuning.full_model, tuning.ceiling(tier), self._relay_of)
            nearest = min(looks, key=lambda look: look.error).method
            return {
                "finalists": [method.described() for method in best],
                "nearest": nearest.described(),
            }

        config = self.tuned.contest.config
        described = {
            "search": search.__name__, "tier": tier, "ceiling": TIERS[tier],
            "overhead": self.tuned.overhead, "moves": config.num_moves, "steps": config.tune_steps,
            "priced": config.num_priced, "spacings": self.tuned.spacings.values(),
        }  # fmt: skip
        key = self.tuned.key(described, search, "student", finalists)
        found = self.tuned.kept(search_name(search.__name__, tier), key, methods)
        return [Method(**one) for one in found["finalists"]], Method(**found["nearest"])

    def _relay_of(self, method: Method) -> Place:
        """Of ours the relay that takes over; of a schedule the relay whose strides it makes."""
        if method.group == "ours":
            return relay_taken(self.tuned.contest.models, method)
        place: Place = method.setting.get("relay", False)
        return place

    def _best(self, search: Search, tier: str, settings: Sequence[Method]) -> int:
        judged = self._judged(finalists_name(search.__name__, tier), settings, "student")
        return best_finalist(judged, self._full_model_judged)

    @cached_property
    def _full_model_judged(self) -> list[Judged]:
        """The corners of its hull."""
        rows = self.tuned.search.full_model.rows
        solved = self.tuned.search.full_model_rows
        methods = [solved[row] for row in rows]
        return self._judged(FULL_MODEL_JUDGED, methods, "teacher")

    def _judged(self, name: str, methods: Sequence[Method], model: str) -> list[Judged]:
        def judge(method: Method) -> list[float]:
            near = self.tuned.search.sampled(method, self.tuned.drawn)
            worth = self.tuned.worth(method)
            error = float(squared_errors(near.x_0, self.tuned.target).mean())
            return [error, worth.distance, worth.spent]

        described = {
            "judged": [method.described() for method in methods], "overhead": self.tuned.overhead,
            "spacings": self.tuned.spacings.values(),
            "pictures": self.tuned.contest.config.num_saving,
        }  # fmt: skip
        key = self.tuned.key(described, finalists, model)
        found = self.tuned.kept(name, key, lambda: {"judged": [judge(one) for one in methods]})
        return [Judged(*one) for one in found["judged"]]
