"""What a benchmark chooses on the validation split before it compares, kept by key.

What a step costs beside its arithmetic, so that ceilings are times; the noise levels of every
solver at few steps; the full model that tiers are compared with (kept_tiers.py chooses those);
the least budgets that are as near the data as the teacher at as many steps.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from nitrogen.model.schedules import Spacing
from nitrogen.pipelines.bench.ceilings import Ceiling, ceiling, step_line
from nitrogen.pipelines.bench.conditions import where
from nitrogen.pipelines.bench.contest import Contest, first
from nitrogen.pipelines.bench.hull import Hull
from nitrogen.pipelines.bench.methods import Method
from nitrogen.pipelines.bench.models import TUNE_SPLIT, pictures
from nitrogen.pipelines.bench.quality import reference
from nitrogen.pipelines.bench.relays import Place, relay_taken
from nitrogen.pipelines.bench.row_store import Row, row_key
from nitrogen.pipelines.bench.saving import (
    BUDGETS,
    Worth,
    saving_budget,
    saving_method,
    to_the_data,
)
from nitrogen.pipelines.bench.spacings import Spacings, best_spacing, told
from nitrogen.pipelines.bench.tuning import Tuning
from nitrogen.pipelines.bench.tuning_forecast import (
    FULL_MODEL,
    saving_name,
    spaced_alone,
    spacing_name,
)
from nitrogen.pipelines.code_digest import code_digests
from nitrogen.pipelines.sampling import Draws, draws

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
        """Enough of them for a Frechet distance."""
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
        drawn = first(self.drawn, batch)
        facts = contest.facts_of("student") | {"code": code_digests(step_line.__module__)}
        asked = {"overhead": batch, "tune": drawn.seeds, "labels": drawn.labels}
        key = row_key(asked, facts | where())
        row = contest.store.get(key)
        if row is None:
            contest.say(OVERHEAD)
            load = round(os.getloadavg()[0], 2)
            found = step_line(contest.models, drawn, batch)
            values = {"overhead": found.overhead, "residual": found.residual}
            row = Row(key, values | {"batch": batch, "load_1m": load}, {})
            if found.fits:  # what does not is of a moment: the next start measures it anew
                row = contest.store.put(row)
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
        key = self.key(described, best_spacing, method.model)
        return Spacing(*self.values(spacing_name(method), key, levels)["levels"])

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
        key = self.key(described, saving_budget, "student")
        found = self.values(saving_name(num_steps), key, method)["method"]
        return Method(**found) if found else None

    def _relays_from(self, num_steps: int) -> list[float]:
        """The least budget for each relay that takes the last steps, rising."""
        models, found = self.contest.models, dict[Place, float]()
        for budget in BUDGETS:
            taken = relay_taken(models, saving_method(num_steps, budget, True))
            found.setdefault(taken, budget)
        return [budget for taken, budget in found.items() if taken]

    def _worth(self, method: Method) -> Worth:
        """Over the seeds `drawn_for_saving`, each method kept by itself."""
        drawn = self.drawn_for_saving
        described = method.described() | {
            "overhead": self.overhead, "spacings": self.spacings.values(),
            "seeds": drawn.seeds, "labels": drawn.labels,
        }  # fmt: skip
        key = self.key(described, to_the_data, method.model)
        row = self.contest.store.get(key)
        if row is None:
            sampled = self.tuning.sampled(method, drawn)
            distance = to_the_data(self.contest.yardstick, sampled.images)
            found = Worth(distance, self.tuning.spent(sampled))
            row = self.contest.store.put(Row(key, asdict(found), {}))
        return Worth(**row.values)

    def values(self, name: str, key: str, choose: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What was chosen under this key, from the store or now."""
        contest = self.contest
        row = contest.store.get(key)
        if row is None:
            with contest.forecast.working(name):
                row = contest.store.put(Row(key, choose(), {}))
        contest.forecast.drop(name)
        return row.values

    @cached_property
    def tuning(self) -> Tuning:
        """Of all tiers, beside one full model."""
        return replace(self._tuning(self.spacings, self.overhead), known=self.full_model)

    @cached_property
    def full_model(self) -> Hull:
        """Of FLOPs, time among them, and error: drawn once for a folder."""

        def drawn() -> dict[str, Any]:
            hull = self._tuning(self.spacings, self.overhead).full_model
            return {"log_cost": hull.log_cost.tolist(), "error": hull.error.tolist()}

        described = {"overhead": self.overhead, "spacings": self.spacings.values()}
        key = self.key({"full model": described}, Tuning, "teacher")
        found = self.values(FULL_MODEL, key, drawn)
        return Hull(np.array(found["log_cost"]), np.array(found["error"]))

    def ceiling(self, tier: str) -> Ceiling:
        return ceiling(self.contest.models, tier, self.overhead)

    def _tuning(self, spacings: Spacings, overhead: float) -> Tuning:
        contest, config = self.contest, self.contest.config
        return Tuning(
            contest.models, self.drawn, self._target, contest.yardstick.extract, overhead,
            spacings, config.tune_steps, config.num_moves, num_priced=config.num_priced,
        )  # fmt: skip

    @cached_property
    def _target(self) -> np.ndarray:
        """[n, h, w, c] the teacher's 64-step pictures, drawn when they are first needed."""
        store, models, drawn = self.contest.store, self.contest.models, self.drawn
        asked = {"target": drawn.seeds, "labels": drawn.labels}
        key = row_key(asked, self.contest.facts_of("teacher"))
        row = store.get(key) or store.put(Row(key, {}, {"x_0": reference(models, drawn)}))
        return row.arrays["x_0"]

    def key(self, described: Mapping[str, Any], search: Callable[..., Any], model: str) -> str:
        """Of what a search chose for a model; others, but for the teacher, have no part in it.

        Its code is that of the search and of what it minimises.
        """
        code = code_digests(search.__module__) | code_digests(Tuning.__module__)
        code |= self.contest.facts["code"]
        more = {"tune": self.drawn.seeds, "labels": self.drawn.labels, "code": code}
        return row_key(described, self.contest.facts_of(model) | more)
