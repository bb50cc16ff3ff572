"""What is found beside the rows: measured once for a folder, and never from what is at hand."""

from types import SimpleNamespace

import pytest

from nitrogen.pipelines.bench import kept_figures
from nitrogen.pipelines.bench.forecast import Forecast
from nitrogen.pipelines.bench.frontier_config import FrontierConfig
from nitrogen.pipelines.bench.kept_figures import (
    CALIBRATION,
    EXITS,
    NOT_YET,
    RANKING,
    calibration,
    exits,
    kept,
    ranks_of_gains,
)
from nitrogen.pipelines.bench.row_store import RowStore
from nitrogen.pipelines.sampling import Draws

pytestmark = pytest.mark.usefixtures("made_up_pictures")


@pytest.fixture
def contest(models, drawn, tmp_path):
    """The part of a contest that these figures are of."""
    return SimpleNamespace(
        config=FrontierConfig.quick(), models=models, drawn=drawn, store=RowStore(tmp_path),
        forecast=Forecast(lambda text: None), facts_of=lambda *names: {"models": names},
    )  # fmt: skip


def test_a_figure_is_measured_once_and_leaves_the_forecast(contest):
    def measure():
        measured.append(1)
        return {"value": 7}

    measured: list[int] = []
    for at_hand in (True, False, False, True):
        contest.forecast.expect({"a figure": 1e9})
        found = kept(contest, "a figure", "k", measure, {"rows": []}, at_hand)
        if measured:
            assert found == {"value": 7}
            assert contest.forecast.left_s == 0
        else:
            assert found == {"rows": [], "reason": NOT_YET, "n": 0}
            assert contest.forecast.left_s > 0
    assert measured == [1]


def test_each_figure_says_what_is_not_at_hand_and_has_a_key_of_its_own(contest, monkeypatch):
    asked = {
        EXITS: lambda at_hand: exits(contest, Draws([1], [2]), at_hand),
        CALIBRATION: lambda at_hand: calibration(contest, at_hand),
        RANKING: lambda at_hand: ranks_of_gains(contest, at_hand),
    }
    missing = [figure(True) for figure in asked.values()]
    beside = {"reason": NOT_YET, "n": 0}
    assert missing == [{"threshold": None} | beside, {"thresholds": []} | beside,
                       {"gains": {}} | beside]  # fmt: skip
    stand_ins = ("forward_passes_saved", "calibrate", "gain_ranking")
    for name, module in zip(stand_ins, ("exits", "calibrate", "gain_ranking"), strict=True):

        def measured(*_, name=name, **__):
            return {"by": name}

        measured.__module__ = f"nitrogen.pipelines.bench.{module}"
        monkeypatch.setattr(kept_figures, name, measured)
    assert [figure(False) for figure in asked.values()] == [{"by": name} for name in stand_ins]
    assert [figure(True) for figure in asked.values()] == [{"by": name} for name in stand_ins]
    other = exits(contest, Draws([1], [3]), True)
    assert other == {"threshold": None} | beside, "other seeds"
