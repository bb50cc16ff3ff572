"""The choices for the tiers and for what is saved: once for a folder, and none left undone."""

import pytest

from nitrogen.pipelines.bench import kept_tiers, kept_tuning
from nitrogen.pipelines.bench.ceilings import TIERS
from nitrogen.pipelines.bench.contest import Contest
from nitrogen.pipelines.bench.frontier_config import FrontierConfig
from nitrogen.pipelines.bench.kept_tiers import KeptTiers
from nitrogen.pipelines.bench.kept_tuning import KeptTuning
from nitrogen.pipelines.bench.settings import schedule_method
from nitrogen.pipelines.bench.tuning import Tried, Tuning
from nitrogen.pipelines.bench.tuning_forecast import SCHEDULES, expected

SMALL = FrontierConfig.quick().model_copy(
    update={
        "num_images": 4, "num_tune": 4, "num_saving": 6, "num_moves": 1, "tune_steps": (3, 4),
        "num_priced": 0, "teacher_steps": {"dpmpp_2m": (3, 6)}, "static_steps": (3,),
        "saving_steps": (3,),
    }
)  # fmt: skip
pytestmark = pytest.mark.usefixtures("made_up_pictures")


def tiers(models, folder, extract) -> KeptTiers:
    contest = Contest.prepare(SMALL, models, folder, extract, lambda text: None)
    return KeptTiers(KeptTuning(contest))


def told(method):
    return method and method.described()


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
    assert list(map(told, again.kept.saving().values())) == list(map(told, saving.values()))


def test_nothing_stays_in_the_forecast(models, tmp_path, extract):
    found = tiers(models, tmp_path, extract)
    forecast = found.kept.contest.forecast
    forecast.expect(expected(found.kept.contest))
    assert forecast.left_s > 0
    found.methods()
    found.kept.saving()
    assert forecast.left_s == 0


def test_of_schedules_the_one_of_least_error_is_a_row_too(models, tmp_path, extract, monkeypatch):
    def looks(tuning, tier):
        limit = tuning.ceiling(tier)
        inside = (limit.least * limit.forward + limit.flops) / 2
        near, cheap = schedule_method([4, 4], tier), schedule_method([1, 1], tier)
        return [Tried(1e-9, limit.flops, near), Tried(2e-9, inside, cheap)]

    monkeypatch.setitem(kept_tiers.SEARCHES, SCHEDULES, looks)
    found = tiers(models, tmp_path, extract).methods()
    for tier in TIERS:
        names = [(m.name, m.setting.get("widths")) for m in found if m.setting["tier"] == tier]
        assert names[1:] == [
            (f"schedule {tier}", [1, 1]),
            (f"schedule {tier}, nearest", [4, 4]),
        ]
