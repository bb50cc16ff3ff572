"""The choices for the tiers: by what finalists are judged to be worth, once for a folder."""

from types import SimpleNamespace

import pytest

from nitrogen.pipelines.bench import kept_tuning
from nitrogen.pipelines.bench.ceilings import TIERS
from nitrogen.pipelines.bench.contest import Contest
from nitrogen.pipelines.bench.frontier_config import FrontierConfig
from nitrogen.pipelines.bench.judging import Judge, Judged
from nitrogen.pipelines.bench.kept_tiers import KeptTiers
from nitrogen.pipelines.bench.kept_tuning import KeptTuning
from nitrogen.pipelines.bench.settings import budget_method, relay_method, schedule_method
from nitrogen.pipelines.bench.tuning import Tuning
from nitrogen.pipelines.bench.tuning_forecast import expected

SMALL = FrontierConfig.quick().model_copy(
    update={
        "num_images": 4, "num_tune": 4, "num_saving": 6, "num_moves": 1, "tune_steps": (3, 4),
        "num_priced": 0, "teacher_steps": {"dpmpp_2m": (3, 6)}, "static_steps": (3,),
        "saving_steps": (3,),
    }
)  # fmt: skip
pytestmark = pytest.mark.usefixtures("made_up_pictures")


def tiers(models, folder, extract, said=None) -> KeptTiers:
    contest = Contest.prepare(SMALL, models, folder, extract, (said or []).append)
    return KeptTiers(KeptTuning(contest))


def steps(methods):
    ours = [m for m in methods if m.group == "ours"]
    return {m.setting["tier"]: m.setting["num_steps"] for m in ours}


@pytest.mark.parametrize("cheap", ["few", "many"])
def test_the_finalist_is_taken_that_is_judged_to_save_most(
    models, tmp_path, extract, monkeypatch, cheap
):
    """Of finalists as near as each other the cheapest one, whichever the search put first."""

    def made_up(judge, method):
        n = method.setting["num_steps"]
        if method.group == "teacher":
            return Judged(1 / n, 1 / n, 1e9 * n)
        return Judged(0.0, 0.0, 1e9 * (n if cheap == "few" else 1 / n))

    monkeypatch.setattr(Judge, "__call__", made_up)
    found = steps(tiers(models, tmp_path, extract).methods())
    assert set(found) == set(TIERS)
    assert found["middle"] == (3 if cheap == "few" else 4)


def test_each_tier_has_ours_and_a_schedule_and_a_second_run_draws_nothing(
    models, tmp_path, extract, monkeypatch
):
    first = tiers(models, tmp_path, extract)
    chosen = first.methods()
    saving = first.kept.saving()
    for tier in TIERS:
        names = [m.name for m in chosen if m.setting["tier"] == tier]
        assert names[0] == f"ours {tier}"
        assert names[1].startswith(f"schedule {tier}")
        assert all(name.endswith(", nearest") for name in names[2:])

    def forbidden(*arguments):
        raise AssertionError("drawn again")

    monkeypatch.setattr(Tuning, "sampled", forbidden)
    monkeypatch.setattr(kept_tuning, "reference", forbidden)
    again = tiers(models, tmp_path, extract)
    assert [m.described() for m in again.methods()] == [m.described() for m in chosen]
    assert again.kept.saving().keys() == saving.keys()


def test_nothing_stays_in_the_forecast(models, tmp_path, extract):
    found = tiers(models, tmp_path, extract)
    forecast = found.kept.contest.forecast
    forecast.expect(expected(found.kept.contest))
    assert forecast.left_s > 0
    found.methods()
    found.kept.saving()
    assert forecast.left_s == 0


def test_a_kind_is_the_relay_that_a_method_has(relaying):
    kept = SimpleNamespace(contest=SimpleNamespace(models=relaying))
    relay_of = KeptTiers(kept)._relay_of
    served = budget_method(6, 0.95, served=True)
    assert relay_of(served) is True
    assert relay_of(budget_method(6, 0.4, served=True)) is False
    assert relay_of(schedule_method([1, 1, 2])) is False
    assert relay_of(relay_method([1, 1, 4, 4])) is True
    assert relay_of(relay_method([1, 1, 1, 4], place=2)) == 2
