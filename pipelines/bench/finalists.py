"""Which of a tier's best settings is taken: by its pictures' error and by their distribution.

A search (budget_search.py, schedule_search.py) looks at few seeds and asks how near the pictures
are to the teacher's of the same seeds. That passes over settings whose pictures are others, and as
good: on emoji a relay of three strides reached the teacher's KID in two thirds of the time that the
relay chosen took, and was never chosen (docs/LOG.md, 2026-11-27). So the best few of a search are
drawn once more, for as many validation seeds as a Frechet distance needs, and the one is taken that
saves most by both: squared error to the teacher's pictures, and distance to the data.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from nitrogen.pipelines.bench.ceilings import Ceiling
from nitrogen.pipelines.bench.hull import Hull, lower_hull
from nitrogen.pipelines.bench.methods import Method
from nitrogen.pipelines.bench.tuning import Tried, most_saved, saved

NUM_FINALISTS = 2  # of each kind


@dataclass(frozen=True)
class Judged:
    """error: mean squared error to the teacher's pictures of the same seeds; distance: to the data,
    of more seeds; spent: FLOPs of a picture, with those that its steps' time would pay."""

    error: float
    distance: float
    spent: float


def finalists(
    looks: Sequence[Tried], full_model: Hull, limit: Ceiling, kind: Callable[[Method], Hashable]
) -> list[Method]:
    """The settings within the tier that save most, the best first: NUM_FINALISTS of each kind, for
    kinds differ in how near they are by the seed. The nearest alone where all are outside."""
    left = [look for look in looks if limit.holds(look.spent)] or [
        most_saved(looks, full_model, limit)
    ]
    found: list[Tried] = []
    for look in sorted(left, key=lambda look: (saved(look, full_model), -look.error), reverse=True):
        alike = [one for one in found if kind(one.method) == kind(look.method)]
        # Exits that never happen make the same pictures: not a finalist beside them.
        twin = any((one.error, one.spent) == (look.error, look.spent) for one in alike)
        if len(alike) < NUM_FINALISTS and not twin:
            found.append(look)
    return [look.method for look in found]


def best_finalist(judged: Sequence[Judged], full_model: Sequence[Judged]) -> int:
    """Which of them saves most by both, the first of equals."""
    costs = [one.spent for one in full_model]
    errors = lower_hull(costs, [one.error for one in full_model])
    distances = lower_hull(costs, [one.distance for one in full_model])
    worth = [saved_by_both(one, errors, distances) for one in judged]
    return worth.index(max(worth))


def saved_by_both(one: Judged, errors: Hull, distances: Hull) -> float:
    """The mean of log(FLOPs of the full model over the setting's) at equal error and at equal
    distance; -inf where either is worse than all of the full model's."""
    by_error = errors.log_saved(one.error, one.spent)
    return (by_error + distances.log_saved(one.distance, one.spent)) / 2
