"""What the choices on the validation split are called, and about what each of them costs."""

from __future__ import annotations

from nitrogen.pipelines.bench.budget_search import BISECTIONS, NUM_EXITS
from nitrogen.pipelines.bench.ceilings import NUM_PARTS, TIERS
from nitrogen.pipelines.bench.contenders import dense
from nitrogen.pipelines.bench.contest import JUDGED_FLOPS, Contest
from nitrogen.pipelines.bench.finalists import NUM_FINALISTS
from nitrogen.pipelines.bench.forecast import picture_flops
from nitrogen.pipelines.bench.judging import NUM_NEAR
from nitrogen.pipelines.bench.methods import Method
from nitrogen.pipelines.bench.quality import REFERENCE_STEPS
from nitrogen.pipelines.bench.relays import all_places
from nitrogen.pipelines.bench.saving import BUDGETS
from nitrogen.pipelines.bench.settings import SOLVER
from nitrogen.pipelines.bench.spacings import TRIES
from nitrogen.pipelines.bench.tuning import EXIT_THRESHOLDS
from nitrogen.pipelines.sampling import forwards

NUM_PLANNERS, NUM_RELAYS = 2, 40  # of a relay within a tier
MAX_FORWARDS = 11  # of the full model, beside finalists: the highest tier is the time of 7.5
OURS, SCHEDULES = "ours", "static schedules"  # what is searched in each tier
FULL_MODEL = "the full model that the tiers are compared with"
FULL_MODEL_JUDGED = "tuning on validation: the full model beside the finalists"


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


def judged_alone(contest: Contest) -> list[Method]:
    """The full model that finalists are judged beside: what may be as good as the highest tier."""
    return [
        method for method in spaced_alone(contest)
        if method.model == "teacher"
        and forwards(method.setting["num_steps"], method.setting["solver"]) <= MAX_FORWARDS
    ]  # fmt: skip


def search_name(searched: str, tier: str) -> str:
    return f"tuning on validation: {searched} for {tier}, the time of {TIERS[tier]:g} forwards"


def finalists_name(searched: str, tier: str) -> str:
    return f"tuning on validation: the finalists of {searched} for {tier}"


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
    finalists = NUM_FINALISTS * (1 + len(relays))
    for search in tried:
        for tier, ceiling in TIERS.items():
            judged = ceiling * full + JUDGED_FLOPS
            searches[finalists_name(search, tier)] = finalists * config.num_saving * judged
    beside = [picture_flops(one, contest.models) + JUDGED_FLOPS for one in judged_alone(contest)]
    target = REFERENCE_STEPS * full * min(NUM_NEAR, config.num_saving)
    searches[FULL_MODEL_JUDGED] = config.num_saving * sum(beside) + target
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
