"""Rows again over the headline's seeds, and their Frechet distances over the teacher's.

A distance of some hundred pictures is too noisy to say that ours is near the teacher's, so ours of
the tiers, ours saving, their teachers, the teacher's longest and the reference itself are drawn
over more seeds, for fd_lite0 and KID alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nitrogen.pipelines.bench.contest import Contest
from nitrogen.pipelines.bench.methods import Method
from nitrogen.pipelines.bench.quality import reference_method
from nitrogen.pipelines.bench.row_store import Row
from nitrogen.pipelines.metrics.bootstrap import Estimate, estimate, paired_ratio

HEADLINE = "headline: "  # a row again, over num_headline seeds


def headline(contest: Contest, methods: Sequence[Method]) -> list[dict[str, Any]]:
    """These rows again over num_headline seeds, and the reference; ours with `fd_over_teacher` at
    as many steps and `fd_over_reference`, see below."""
    config = contest.config
    if config.num_headline <= config.num_images:
        return []
    wide = replace(contest, drawn=contest.draw(config.num_headline), paired=False)
    named = [replace(m, name=HEADLINE + m.name) for m in [*methods, reference_method()]]
    wide.expect(named)
    rows = [wide.row(m) for m in named]
    pairs = list(zip(named, rows, strict=True))
    teachers = {m.setting["num_steps"]: row for m, row in pairs if m.group == "teacher"}
    found = []
    for method, row in pairs:
        if method.group == "ours":
            others = {"teacher": teachers.get(method.setting["num_steps"]), "reference": rows[-1]}
            ratios = {f"fd_over_{name}": fd_over(row, other) for name, other in others.items()}
            found.append(row.values | ratios)
        else:
            found.append(row.values)
    return found


def fd_over(row: Row, other: Row | None) -> dict[str, Any] | None:
    """{value, low, high, n} of the row's fd_lite0 over the other's on the same seeds, paired.

    The interval is over the drawn pictures: the training pictures are the same for both and taken
    as they are. None where either has no distance.
    """
    mine, theirs = _distance(row), _distance(other)
    return paired_ratio(mine, theirs).to_dict() if mine and theirs else None


def _distance(row: Row | None) -> Estimate | None:
    if row is None or not row.values["fd_lite0"]:
        return None
    return estimate(row.values["fd_lite0"]["value"], row.arrays["fd_influence"], np.zeros(0))


def teachers_of(ours: Sequence[Method], rows: Sequence[Method]) -> list[Method]:
    """The teacher's rows at the steps of ours, by the same solver and the adaptive operators; and
    its longest, for a distance below the teacher's at equal steps is no wonder where it is not
    below that of its long run too."""
    solvers = {m.setting["solver"] for m in ours}
    teachers = [
        m
        for m in rows
        if m.group == "teacher" and m.guidance == 1 and m.operators == "rows"
        and m.setting["solver"] in solvers
    ]  # fmt: skip
    longest = max((m.setting["num_steps"] for m in teachers), default=None)
    wanted = {(m.setting["num_steps"], m.setting["solver"]) for m in ours}
    return [
        m
        for m in teachers
        if m.setting["num_steps"] == longest
        or (m.setting["num_steps"], m.setting["solver"]) in wanted
    ]
