"""What a benchmark chooses on the validation split before it compares, kept by key.

What a step costs beside its arithmetic, so that ceilings are times; the noise levels of every
solver at few steps; the settings of ours and of the static schedules in each tier.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from nitrogen.model.schedules import Spacing
from nitrogen.pipelines.bench.budget_search import tried_budgets
from nitrogen.pipelines.bench.ceilings import TIERS, step_line
from nitrogen.pipelines.bench.conditions import where
from nitrogen.pipelines.bench.contest import Contest
from nitrogen.pipelines.bench.finalists import Judged, best_finalist, finalists
from nitrogen.pipelines.bench.hull import Hull
from nitrogen.pipelines.bench.methods import Method
from nitrogen.pipelines.bench.models import TUNE_SPLIT, pictures
from nitrogen.pipelines.bench.quality import reference, squared_errors
from nitrogen.pipelines.bench.relays import Place, relay_taken
from nitrogen.pipelines.bench.row_store import Row, row_key
from nitrogen.pipelines.bench.saving import BUDGETS, Worth, saving_budget, saving_method
from nitrogen.pipelines.bench.schedule_search import tried_schedules
from nitrogen.pipelines.bench.spacings import Spacings, best_spacing, told
from nitrogen.pipelines.bench.tuning import Tried, Tuning, tuned_budget
from nitrogen.pipelines.bench.tuning_forecast import (
    FULL_MODEL,
    FULL_MODEL_JUDGED,
    finalists_name,
    saving_name,
    search_name,
    spaced_alone,
    spacing_name,
)
from nitrogen.pipelines.code_digest import code_digests
from nitrogen.pipelines.sampling import Draws, draws

Search = Callable[[Tuning, str], list[Tried]]

OVERHEAD = "what a step costs beside its arithmetic"


@dataclass(frozen=True)
class KeptTuning:
    """Each choice is made once for a folder: a second run tunes to the same ceilings."""

    contest: Contest

    @cached_property
    def drawn(self) -> Draws:
        """Seeds of the validation split."""
        return self._draw(self.contest.config.num_tune)

    @cached_property
    def drawn_for_saving(self) -> Draws:
        """More of them, for a Frechet distance."""
        return self._draw(self.contest.config.num_saving)

    def _draw(self, num: int) -> Draws:
        contest = self.contest
        labels = pictures(contest.models.data_uri, TUNE_SPLIT, contest.models.arch.image_size)[1]
        return draws("sweep", num, labels, contest.config.seed)

    @property
    def overhead(self) -> float:
        """FLOPs that the fixed time of a student's step would pay for; see ceilings.py."""
        return float(self.line["overhead"])

    @cached_property
    def line(self) -> dict[str, float]:
        """What `overhead` was read from: how well a line fits, the batch, the machine's load."""
        contest, batch = self.contest, max(self.contest.config.batches)
        facts = contest.facts_of("student") | {"code": code_digests(step_line.__module__)}
        key = row_key({"overhead": batch}, facts | where())
        row = contest.store.get(key)
        if row is None:
            contest.say(OVERHEAD)
            load = round(os.getloadavg()[0], 2)
            found = step_line(contest.models, contest.drawn, batch)
            values = {"overhead": found.overhead, "residual": found.residual}
            row = contest.store.put(Row(key, values | {"batch": batch, "load_1m": load}, {}))
        return row.values

    @cached_property
    def spacings(self) -> Spacings:
        """The noise levels of the teacher's solvers and of thin models, by number of steps."""
        return Spacings({
            (one.model, one.setting["solver"], one.setting["num_steps"]): self._spacing(one)
            for one in spaced_alone(self.contest)
        })  # fmt: skip

    def _spacing(self, method: Method) -> Spacing:
        def levels() -> dict[str, Any]:
            found = best_spacing(method, self._tuning(Spacings(), 0.0).error)
            return {"levels": told(found)}

        described = method.described() | {"search": best_spacing.__name__}
        key = self._key(described, best_spacing, method.model)
        return Spacing(*self._kept(spacing_name(method), key, levels)["levels"])

    def tiers(self) -> list[Method]:
        """Ours and the static schedules in each tier."""
        return [
            method for tier in TIERS for search in (tried_budgets, tried_schedules)
            for method in self._chosen(search, tier)
        ]  # fmt: skip

    def saving(self) -> dict[int, Method | None]:
        """By number of steps, ours of the least budget that is as near as the teacher there; None
        where none is."""
        return {steps: self._saving(steps) for steps in self.contest.config.saving_steps}

    def _saving(self, num_steps: int) -> Method | None:
        def method() -> dict[str, Any]:
            student = self.contest.models.student
            served = student.prices is not None or student.relay is not None
            chosen = saving_budget(self._worth, num_steps, served, self._relays_from(num_steps))
            return {"method": chosen.described() if chosen else None}

        config = self.contest.config
        described = {
            "search": saving_budget.__name__, "steps": num_steps, "pictures": config.num_saving,
            "overhead": self.overhead, "spacings": self.spacings.values(),
        }  # fmt: skip
        key = self._key(described, saving_budget, "student")
        found = self._kept(saving_name(num_steps), key, method)["method"]
        return Method(**found) if found else None

    def _relays_from(self, num_steps: int) -> list[float]:
        """The least budget for each relay that takes the last steps, rising."""
        models, found = self.contest.models, dict[Place, float]()
        for budget in BUDGETS:
            taken = relay_taken(models, saving_method(num_steps, budget, True))
            found.setdefault(taken, budget)
        return [budget for taken, budget in found.items() if taken]

    def _worth(self, method: Method) -> Worth:
        """fd_lite0 to the training split, as that of rows, of seeds of the validation split."""
        contest, tuning = self.contest, self._tiers_tuning
        sampled = tuning.sampled(method, self.drawn_for_saving)
        features = contest.yardstick.extract(sampled.images)
        distance = contest.yardstick.fd(features) or contest.yardstick.kid(features)
        return Worth(distance.value, tuning.spent(sampled))

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
            tuning = self._tiers_tuning
            looks = search(tuning, tier)
            best = finalists(looks, tuning.full_model, tuning.ceiling(tier), self._relay_of)
            nearest = min(looks, key=lambda look: look.error).method
            return {
                "finalists": [method.described() for method in best],
                "nearest": nearest.described(),
            }

        config = self.contest.config
        described = {
            "search": search.__name__, "tier": tier, "ceiling": TIERS[tier],
            "overhead": self.overhead, "moves": config.num_moves, "steps": config.tune_steps,
            "priced": config.num_priced, "spacings": self.spacings.values(),
        }  # fmt: skip
        key = self._key(described, search, "student", finalists)
        found = self._kept(search_name(search.__name__, tier), key, methods)
        return [Method(**one) for one in found["finalists"]], Method(**found["nearest"])

    def _relay_of(self, method: Method) -> Place:
        """Of ours the relay that takes over; of a schedule the relay whose strides it makes."""
        if method.group == "ours":
            return relay_taken(self.contest.models, method)
        place: Place = method.setting.get("relay", False)
        return place

    def _best(self, search: Search, tier: str, settings: Sequence[Method]) -> int:
        judged = self._judged(finalists_name(search.__name__, tier), settings, "student")
        return best_finalist(judged, self._full_model_judged)

    @cached_property
    def _full_model_judged(self) -> list[Judged]:
        """The corners of its hull."""
        rows = self._tiers_tuning.full_model.rows
        solved = [one for one in spaced_alone(self.contest) if one.model == "teacher"]
        methods = [solved[row] for row in rows]
        return self._judged(FULL_MODEL_JUDGED, methods, "teacher")

    def _judged(self, name: str, methods: Sequence[Method], model: str) -> list[Judged]:
        def judge(method: Method) -> list[float]:
            near = self._tiers_tuning.sampled(method, self.drawn)
            worth = self._worth(method)
            error = float(squared_errors(near.x_0, self._target).mean())
            return [error, worth.distance, worth.spent]

        described = {
            "judged": [method.described() for method in methods], "overhead": self.overhead,
            "spacings": self.spacings.values(), "pictures": self.contest.config.num_saving,
        }  # fmt: skip
        key = self._key(described, finalists, model)
        found = self._kept(name, key, lambda: {"judged": [judge(one) for one in methods]})
        return [Judged(*one) for one in found["judged"]]

    def _kept(
        self, name: str, key: str, choose: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:  # fmt: skip
        """What was chosen under this key, from the store or now."""
        contest = self.contest
        row = contest.store.get(key)
        if row is None:
            with contest.forecast.working(name):
                row = contest.store.put(Row(key, choose(), {}))
        contest.forecast.drop(name)
        return row.values

    @cached_property
    def _tiers_tuning(self) -> Tuning:
        """Of all tiers, beside one full model, which is drawn once for a folder."""
        tuning = self._tuning(self.spacings, self.overhead)

        def drawn() -> dict[str, Any]:
            hull = tuning.full_model
            told = {"log_cost": hull.log_cost.tolist(), "error": hull.error.tolist()}
            return told | {"rows": hull.rows}

        described = {"overhead": self.overhead, "spacings": self.spacings.values()}
        key = self._key({"full model": described}, tuned_budget, "teacher")
        found = self._kept(FULL_MODEL, key, drawn)
        hull = Hull(np.array(found["log_cost"]), np.array(found["error"]), tuple(found["rows"]))
        return replace(tuning, known=hull)

    def _tuning(self, spacings: Spacings, overhead: float) -> Tuning:
        contest, config = self.contest, self.contest.config
        return Tuning(
            contest.models, self.drawn, self._target, contest.yardstick.extract, overhead,
            spacings, config.tune_steps, config.num_moves, num_priced=config.num_priced,
        )  # fmt: skip

    @cached_property
    def _target(self) -> np.ndarray:
        """The teacher's 64-step pictures, drawn when the first search needs them."""
        return reference(self.contest.models, self.drawn)

    def _key(
        self, described: Mapping[str, Any], search: Callable[..., Any], model: str,
        *more_code: Callable[..., Any],
    ) -> str:  # fmt: skip
        """Of what a search chose for a model; others, but for the teacher, have no part in it.

        Its code is that of the search, of what it minimises, and of `more_code`.
        """
        code = code_digests(search.__module__) | code_digests(Tuning.__module__)
        for other in more_code:
            code |= code_digests(other.__module__)
        code |= self.contest.facts["code"]
        more = {"tune": self.drawn.seeds, "labels": self.drawn.labels, "code": code}
        return row_key(described, self.contest.facts_of(model) | more)
