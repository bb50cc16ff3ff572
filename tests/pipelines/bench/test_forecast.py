"""The forecast knows the work before it is done, and learns the machine's rate."""

from itertools import pairwise

import numpy as np
import pytest
from pydantic import ValidationError

from nitrogen.pipelines.bench.contenders import contenders, dense, threshold_method
from nitrogen.pipelines.bench.controls import Trace
from nitrogen.pipelines.bench.forecast import (
    ASSUMED_FLOPS_PER_S,
    ASSUMED_S,
    Forecast,
    minutes,
    picture_flops,
)
from nitrogen.pipelines.bench.frontier_config import FrontierConfig
from nitrogen.pipelines.bench.methods import Method, runner
from nitrogen.pipelines.bench.settings import budget_method, schedule_method
from nitrogen.pipelines.bench.twins import by_rows
from nitrogen.platform.errors import ConfigError

BASE = {"model": "teacher", "solver": "dpmpp_2m", "num_steps": 7}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    "method",
    [
        dense("teacher", "teacher", "dpmpp_2m", 6),
        dense("teacher", "teacher", "heun", 3),
        dense("thin quarter", "thin", "unipc", 4),
        dense("teacher", "teacher", "dpmpp_2m", 4, guidance=2.0),
        by_rows(dense("teacher", "teacher", "heun", 3)),
        schedule_method([4, 0, 2, 1, 0, 1]),
        by_rows(schedule_method([4, 0, 2, 1, 0, 1])),
        Method("dc", "cache", "deep_cache", BASE | {"interval": 3}),
        by_rows(Method("dc", "cache", "deep_cache", BASE | {"interval": 2})),
    ],
    ids=lambda m: m.name,
)
def test_flops_are_known_before_where_no_picture_decides(models, drawn, method):
    made = runner(method, models)(drawn.labels[:2], drawn.seeds[:2])
    assert picture_flops(method, models) == pytest.approx(made.flops[0].item())


@pytest.mark.parametrize(
    "method",
    [
        budget_method(8, 0.5),
        threshold_method(8, 1e-3),
        Method("i", "ignored", "ignored", {"solver": "dpmpp_2m", "num_steps": 8}),
        Method("tea", "cache", "tea_cache", BASE | {"threshold": 0.1}),
        Method("ras", "cache", "ras", BASE | {"share": 0.5, "warm_up": 2}),
    ],
    ids=lambda m: m.name,
)
def test_flops_are_about_right_where_pictures_decide(models, drawn, method):
    made = runner(method, models)(drawn.labels, drawn.seeds)
    assert 0.5 < picture_flops(method, models) / made.flops.mean().item() < 2


def test_a_control_costs_its_plans_and_an_oracle_what_it_asks_too(models, drawn):
    widths = np.random.default_rng(0).integers(1, 5, (6, 4, 4, 4)).astype(np.uint8)
    trace, setting = Trace(tuple(drawn.seeds), widths), {"solver": "dpmpp_2m", "num_steps": 4}
    random, oracle = (
        Method(how, "control", "control", setting | {"how": how, "of": "x"}, trace=trace)
        for how in ("random", "oracle")
    )
    made = runner(random, models)(drawn.labels, drawn.seeds)
    assert picture_flops(random, models) == pytest.approx(made.flops.mean().item())
    assert picture_flops(oracle, models) > 5 * picture_flops(random, models)


def test_time_left_follows_the_measured_rate():
    clock, said = Clock(), []
    forecast = Forecast(said.append, clock)
    rate = ASSUMED_FLOPS_PER_S
    forecast.expect({"a": 100 * rate, "b": 100 * rate, "at hand": 900 * rate})
    forecast.drop("at hand")
    assert forecast.left_s == pytest.approx(200)
    with forecast.working("a"):
        clock.now += 300  # a third of the assumed rate
    measured = (300 + ASSUMED_S) / (100 + ASSUMED_S)
    assert forecast.left_s == pytest.approx(100 * measured)
    assert said == ["[3 min left] a"]
    forecast.part("b", 25 * rate, 75 * measured)
    assert forecast.left_s == pytest.approx(25 * measured)
    with forecast.working("nobody expected this"):
        clock.now += 1000
    assert forecast.left_s == pytest.approx(25 * measured)
    forecast.drop("b")
    assert forecast.left_s == 0


def test_times_are_read_by_people():
    assert [minutes(s) for s in (0, 89, 90, 3000, 3600 + 300, -5)] == [
        "0 s", "89 s", "2 min", "50 min", "1 h 05 min", "0 s",
    ]  # fmt: skip


def test_presets_rise_in_size(models):
    sizes = [FrontierConfig.preset(name) for name in ("quick", "day", "full")]
    for small, large in pairwise(sizes):
        assert small.num_images <= large.num_images
        assert len(list(contenders(small, models))) < len(list(contenders(large, models)))
        assert small.rounds < large.rounds
    assert sizes[1].num_images >= 1280  # fd_lite0 needs as many
    for config in sizes:
        assert set(config.ours_steps) <= set(config.teacher_steps["dpmpp_2m"])
    assert {3, 4} <= set(sizes[1].tune_steps) & set(sizes[2].tune_steps)
    with pytest.raises(ConfigError, match="--preset must be quick, day or full, got 'night'"):
        FrontierConfig.preset("night")
    with pytest.raises(ValidationError):
        FrontierConfig(rounds=1)
