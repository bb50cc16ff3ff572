"""What the choices on the validation split are called, and about what each of them costs."""

from __future__ import annotations

from nitrogen.pipelines.bench.budget_search import BISECTIONS, NUM_EXITS
from nitrogen.pipelines.bench.ceilings import NUM_PARTS, TIERS
from nitrogen.pipelines.bench.contenders import dense
from nitrogen.pipelines.bench.contest import JUDGED_FLOPS, Contest
from nitrogen.pipelines.bench.forecast import picture_flops
from nitrogen.pipelines.bench.methods import Method
from nitrogen.pipelines.bench.relays import all_places
from nitrogen.pipelines.bench.saving import BUDGETS
from nitrogen.pipelines.bench.settings import SOLVER
from nitrogen.pipelines.bench.spacings import TRIES
from nitrogen.pipelines.bench.tuning import EXIT_THRESHOLDS

NUM_PLANNERS, NUM_RELAYS = 2, 40  # of a relay within a tier
OURS, SCHEDULES = "ours", "static schedules"  # what is searched in each tier
FULL_MODEL = "the full model that the tiers are compared with"


def spaced_alone(contest: Contest) -> list[Method]:
    """The rows whose noise levels are searched: the others take those of one of them."""
    config = contest.config
    teacher = [
        dense("teacher", "teacher", solver, n)
        for solver, steps in config.teacher_steps.items() for n in steps
    ]  # fmt: skip
    thin = [
        dense(name, "thin", SOLVER, n) for name in contest.models.thin for n in config.thin_steps
    ]
    return teacher + thin


def search_name(searched: str, tier: str) -> str:
    return f"tuning on validation: {searched} for {tier}, the time of {TIERS[tier]:g} forwards"


def saving_name(num_steps: int) -> str:
    return f"tuning on validation: the least budget as near as the teacher at {num_steps} steps"


def spacing_name(method: Method) -> str:
    return f"noise levels on validation: {method.name}"


def expected(contest: Contest) -> dict[str, float]:
    """About the FLOPs of the searches."""
    config, full = contest.config, float(contest.models.cost.full_flops)
    starts, relays = NUM_PARTS * len(config.tune_steps), all_places(contest.models)
    settings = starts * NUM_PLANNERS + NUM_EXITS * (len(EXIT_THRESHOLDS) - 1)
    tried = {
        OURS: settings + config.num_priced * (BISECTIONS + 1),
        SCHEDULES: len(relays) * NUM_RELAYS + starts + config.num_moves,
    }
    searches = {
        search_name(search, tier): num * config.num_tune * ceiling * full
        for search, num in tried.items()
        for tier, ceiling in TIERS.items()
    }
    # The teacher's, a bisection's, and one for each relay in whose range there may be nothing.
    tries = 1 + len(BUDGETS).bit_length() + len(relays)
    for steps in config.saving_steps:
        judged = steps * full + JUDGED_FLOPS
        searches[saving_name(steps)] = tries * config.num_saving * judged
    for one in spaced_alone(contest):
        looked_at = config.num_tune * picture_flops(one, contest.models)
        searches[spacing_name(one)] = TRIES * looked_at
        if one.model == "teacher":
            searches[FULL_MODEL] = searches.get(FULL_MODEL, 0.0) + looked_at
    return searches
