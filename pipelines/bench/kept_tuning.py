"""What a benchmark chooses on the validation split before it compares, kept by key.

What a step costs beside its arithmetic, so that ceilings are times; the noise levels of every
solver at few steps; the settings of ours and of the static schedule under each ceiling.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from nitrogen.model.schedules import Spacing
from nitrogen.pipelines.bench.ceilings import NUM_PARTS, TIERS, step_line
from nitrogen.pipelines.bench.conditions import where
from nitrogen.pipelines.bench.contenders import dense
from nitrogen.pipelines.bench.contest import JUDGED_FLOPS, Contest
from nitrogen.pipelines.bench.forecast import picture_flops
from nitrogen.pipelines.bench.methods import Method
from nitrogen.pipelines.bench.models import TUNE_SPLIT, pictures
from nitrogen.pipelines.bench.quality import reference
from nitrogen.pipelines.bench.row_store import Row, row_key
from nitrogen.pipelines.bench.saving import BUDGETS, Worth, saving_budget
from nitrogen.pipelines.bench.schedule_search import searched_schedules
from nitrogen.pipelines.bench.settings import SOLVER
from nitrogen.pipelines.bench.spacings import TRIES, Spacings, best_spacing, told
from nitrogen.pipelines.bench.tuning import (
    BISECTIONS,
    EXIT_THRESHOLDS,
    NUM_EXITS,
    Tuning,
    tuned_budget,
)
from nitrogen.pipelines.code_digest import code_digests
from nitrogen.pipelines.sampling import Draws, draws

NUM_PLANNERS, NUM_RELAYS = 2, 40
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
        """Ours and the static schedules under each ceiling."""
        return [
            method for tier in TIERS for search in (tuned_budget, searched_schedules)
            for method in self._searched(search, tier)
        ]  # fmt: skip

    def saving(self) -> dict[int, Method | None]:
        """By number of steps, ours of the least budget that is as near as the teacher there; None
        where none is."""
        return {steps: self._saving(steps) for steps in self.contest.config.saving_steps}

    def _saving(self, num_steps: int) -> Method | None:
        def method() -> dict[str, Any]:
            student = self.contest.models.student
            served = student.prices is not None or student.relay is not None
            chosen = saving_budget(self._worth, num_steps, served)
            return {"method": chosen.described() if chosen else None}

        config = self.contest.config
        described = {
            "search": saving_budget.__name__, "steps": num_steps, "pictures": config.num_saving,
            "overhead": self.overhead, "spacings": self.spacings.values(),
        }  # fmt: skip
        key = self._key(described, saving_budget, "student")
        found = self._kept(saving_name(num_steps), key, method)["method"]
        return Method(**found) if found else None

    def _worth(self, method: Method) -> Worth:
        """fd_lite0 to the training split, as that of rows, of seeds of the validation split."""
        contest, tuning = self.contest, self._tiers_tuning
        sampled = tuning.sampled(method, self.drawn_for_saving)
        features = contest.yardstick.extract(sampled.images)
        distance = contest.yardstick.fd(features) or contest.yardstick.kid(features)
        return Worth(distance.value, tuning.spent(sampled))

    def _searched(self, search: Callable[[Tuning, str], list[Method]], tier: str) -> list[Method]:
        def methods() -> dict[str, Any]:
            chosen = search(self._tiers_tuning, tier)
            return {"methods": [method.described() for method in chosen]}

        config = self.contest.config
        described = {
            "search": search.__name__, "tier": tier, "ceiling": TIERS[tier],
            "overhead": self.overhead, "moves": config.num_moves, "steps": config.tune_steps,
            "priced": config.num_priced, "spacings": self.spacings.values(),
        }  # fmt: skip
        key = self._key(described, search, "student")
        found = self._kept(search_name(search.__name__, tier), key, methods)
        return [Method(**method) for method in found["methods"]]

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
        """One for all tiers: it draws the full model that they are compared with once."""
        return self._tuning(self.spacings, self.overhead)

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

    def _key(self, described: Mapping[str, Any], search: Callable[..., Any], model: str) -> str:
        """Of what a search chose for a model; others, but for the teacher, have no part in it.

        Its code is that of the search and of what it minimises.
        """
        code = code_digests(search.__module__) | code_digests(Tuning.__module__)
        code |= self.contest.facts["code"]
        more = {"tune": self.drawn.seeds, "labels": self.drawn.labels, "code": code}
        return row_key(described, self.contest.facts_of(model) | more)


def spaced_alone(contest: Contest) -> list[Method]:
    """The rows whose noise levels are searched: the others take those of one of them."""
    config = contest.config
    teacher = [
        dense("teacher", "teacher", solver, n)
        for solver, steps in config.teacher_steps.items() for n in steps
    ]  # fmt: skip
    thin = [
        dense(name, "thin", SOLVER, n) for name in contest.models.thin for n in config.static_steps
    ]
    return teacher + thin


def search_name(search: str, tier: str) -> str:
    return f"tuning on validation: {search} for {tier}, the time of {TIERS[tier]:g} forwards"


def saving_name(num_steps: int) -> str:
    return f"tuning on validation: the least budget as near as the teacher at {num_steps} steps"


def spacing_name(method: Method) -> str:
    return f"noise levels on validation: {method.name}"


def expected(contest: Contest) -> dict[str, float]:
    """About the FLOPs of the searches."""
    config, full = contest.config, float(contest.models.cost.full_flops)
    starts = NUM_PARTS * len(config.tune_steps)
    settings = starts * NUM_PLANNERS + NUM_EXITS * len(EXIT_THRESHOLDS)
    tried = {
        tuned_budget.__name__: settings + config.num_priced * (BISECTIONS + 1),
        searched_schedules.__name__: NUM_RELAYS + starts + config.num_moves,
    }
    searches = {
        search_name(search, tier): num * config.num_tune * ceiling * full
        for search, num in tried.items()
        for tier, ceiling in TIERS.items()
    }
    tries = 1 + math.ceil(math.log2(len(BUDGETS)))  # the teacher's, and a bisection's
    for steps in config.saving_steps:
        judged = steps * full + JUDGED_FLOPS
        searches[saving_name(steps)] = tries * config.num_saving * judged
    return searches | {
        spacing_name(one): TRIES * config.num_tune * picture_flops(one, contest.models)
        for one in spaced_alone(contest)
    }
