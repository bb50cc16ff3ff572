"""Which of a tier's best settings is taken: by its pictures' error and by their distribution.

A search (budget_search.py, schedule_search.py) looks at few seeds and asks how near the pictures
are to the teacher's of the same seeds. That passes over settings whose pictures are others, and as
good (docs/LOG.md, 2026-11-27). So the best few of a search are drawn once more, for as many
validation seeds as a Frechet distance needs, and the one is taken that saves most by both: squared
error to the teacher's pictures, and distance to the data; see judging.py.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

from nitrogen.pipelines.bench.ceilings import Ceiling
from nitrogen.pipelines.bench.figures import MAX_FD_RATIO
from nitrogen.pipelines.bench.hull import Hull, lower_hull
from nitrogen.pipelines.bench.judging import Judged
from nitrogen.pipelines.bench.methods import Method
from nitrogen.pipelines.bench.tuning import Tried, best_first, most_saved

NUM_FINALISTS = 2  # of each kind


def finalists(
    looks: Sequence[Tried], full_model: Hull, limit: Ceiling, kind: Callable[[Method], Hashable]
) -> list[Method]:
    """The settings within the tier that save most, the best first: of each kind NUM_FINALISTS of
    different numbers of steps, for a price or an exit changes little. The nearest alone where all
    are outside."""
    left = [look for look in looks if limit.holds(look.spent)] or [
        most_saved(looks, full_model, limit)
    ]
    found: list[Method] = []
    steps: dict[Hashable, set[int]] = {}
    for look in best_first(left, full_model):
        taken, num_steps = (
            steps.setdefault(kind(look.method), set()),
            look.method.setting["num_steps"],
        )
        if len(taken) < NUM_FINALISTS and num_steps not in taken:
            taken.add(num_steps)
            found.append(look.method)
    return found


def best_finalist(judged: Sequence[Judged], full_model: Sequence[Judged], long_run: Judged) -> int:
    """Which of them saves most by both, the first of equals.

    A distance within MAX_FD_RATIO of the full model's long run is as good as any: below it the
    full model's own go up and down with its steps, and a lower one is no reason to choose.
    """
    enough = MAX_FD_RATIO * long_run.distance
    judged, full_model = (
        [replace(one, distance=max(enough, one.distance)) for one in those]
        for those in (judged, full_model)
    )
    costs = [one.spent for one in full_model]
    errors = lower_hull(costs, [one.mse for one in full_model])
    distances = lower_hull(costs, [one.distance for one in full_model])
    worth = [saved_by_both(one, errors, distances) for one in judged]
    return worth.index(max(worth))


def saved_by_both(one: Judged, errors: Hull, distances: Hull) -> float:
    """The mean of log(FLOPs of the full model over the setting's) at equal error and at equal
    distance; -inf where either is worse than all of the full model's."""
    by_error = errors.log_saved(one.mse, one.spent)
    return (by_error + distances.log_saved(one.distance, one.spent)) / 2
