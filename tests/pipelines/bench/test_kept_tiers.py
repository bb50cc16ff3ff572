"""The choices for the tiers: by both measures, once for a folder."""

import pytest

from nitrogen.pipelines.bench.budget_search import tried_budgets
from nitrogen.pipelines.bench.ceilings import TIERS
from nitrogen.pipelines.bench.contest import Contest
from nitrogen.pipelines.bench.finalists import best_finalist
from nitrogen.pipelines.bench.frontier_config import FrontierConfig
from nitrogen.pipelines.bench.kept_tiers import KeptTiers
from nitrogen.pipelines.bench.kept_tuning import KeptTuning
from nitrogen.pipelines.bench.tuning import Tuning

SMALL = FrontierConfig.quick().model_copy(
    update={
        "num_images": 4, "num_tune": 4, "num_saving": 4, "num_moves": 1, "tune_steps": (3, 5),
        "num_priced": 0, "teacher_steps": {"dpmpp_2m": (3, 6)}, "static_steps": (3,),
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tiers")


@pytest.fixture(scope="module")
def tuned(models, folder, extract):
    return KeptTuning(Contest.prepare(SMALL, models, folder, extract, lambda text: None))


@pytest.fixture(scope="module")
def chosen(tuned):
    return KeptTiers(tuned).methods()


def test_each_tier_has_ours_and_a_schedule(chosen):
    for tier in TIERS:
        of_tier = [m for m in chosen if m.setting["tier"] == tier]
        names = [m.name for m in of_tier]
        assert names[0] == f"ours {tier}"
        assert names[1].startswith(f"schedule {tier}")
        assert all(name.endswith(", nearest") for name in names[2:])


def test_the_finalist_is_taken_that_saves_most_by_error_and_distance(tuned, chosen):
    tiers = KeptTiers(tuned)
    corners = tiers._full_model_judged
    assert len(corners) == len(tuned.search.full_model.rows)
    searched = {tier: tiers._searched(tried_budgets, tier)[0] for tier in TIERS}
    contested = {tier: settings for tier, settings in searched.items() if len(settings) > 1}
    assert contested
    for settings in contested.values():
        judged = tiers._judged("again", settings, "student")
        best = settings[best_finalist(judged, corners)]
        assert best.described() in [method.described() for method in chosen]


def test_a_second_run_draws_nothing(tuned, chosen, monkeypatch, models, folder, extract):
    def forbidden(*arguments):
        raise AssertionError("drawn again")

    contest = Contest.prepare(SMALL, models, folder, extract, lambda text: None)
    monkeypatch.setattr(Tuning, "sampled", forbidden)
    again = KeptTiers(KeptTuning(contest)).methods()
    assert [m.described() for m in again] == [m.described() for m in chosen]
