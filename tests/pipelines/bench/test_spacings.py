"""Noise levels of few steps: searched, given to all that may take them, kept by the strided."""

from dataclasses import replace

import pytest
import torch

from nitrogen.model.schedules import KARRAS, Spacing, sampling_sigmas
from nitrogen.pipelines.bench.contenders import caches, dense
from nitrogen.pipelines.bench.frontier_config import FrontierConfig
from nitrogen.pipelines.bench.methods import runner
from nitrogen.pipelines.bench.settings import budget_method, schedule_method
from nitrogen.pipelines.bench.spacings import (
    RHOS,
    SIGMA_MINS,
    STRIDES,
    TRIES,
    Spacings,
    best_spacing,
    spaced,
    told,
)
from nitrogen.pipelines.bench.twins import by_rows

OTHER = Spacing(0.03, 12.0)


@pytest.mark.parametrize(
    ("wanted", "strides"), [(0, {}), (3, {"strides": STRIDES[0][0], "knee": STRIDES[0][1]})]
)
def test_the_search_finds_the_best_of_each_and_asks_little(wanted, strides):
    asked = []

    def error(method):
        levels = method.setting.get("spacing", [KARRAS.sigma_min, KARRAS.rho])
        asked.append(tuple(levels))
        sigma_min, rho, *rest = levels
        return abs(rho - 12) + abs(sigma_min - 0.03) + abs(len(rest) - wanted)

    found = best_spacing(dense("teacher", "teacher", "unipc", 5), error)
    assert found == replace(OTHER, **strides)
    assert Spacing(*told(found)) == found
    assert len(asked) == len(set(asked)) == TRIES
    assert {rho for _, rho, *_ in asked} == set(RHOS)
    assert {low for low, *_ in asked} == set(SIGMA_MINS)
    assert {tuple(rest[1:]) for _, _, *rest in asked if rest} == set(STRIDES)


def test_a_search_never_ends_worse_than_edm():
    def error(method):
        return 1.0 if "spacing" in method.setting else 0.5

    assert best_spacing(dense("teacher", "teacher", "euler", 5), error) == KARRAS


def test_all_that_run_on_the_teachers_solver_get_its_levels(models, strided):
    spacings = Spacings({("teacher", "dpmpp_2m", 6): OTHER, ("teacher", "dpmpp_2m", 12): KARRAS})
    config = FrontierConfig.quick()
    some = [
        dense("teacher", "teacher", "dpmpp_2m", 7),
        dense("thin quarter", "thin", "dpmpp_2m", 6),
    ]
    some += [m for m in caches(config, models) if m.setting["num_steps"] < 9]
    for method in some:
        assert spacings.of(method, models).setting["spacing"] == [0.03, 12.0], method.name
    far = dense("teacher", "teacher", "dpmpp_2m", 11)
    assert spacings.of(far, models) == far  # nearest to 12 steps, which keep EDM's
    euler = dense("teacher", "teacher", "euler", 6)
    assert spacings.of(euler, models) == euler
    schedule = schedule_method([2] * 6)
    assert "spacing" in spacings.of(schedule, models).setting
    assert "spacing" not in spacings.of(schedule, strided).setting


def test_ours_is_sampled_as_the_library_samples_it(models):
    spacings = Spacings({("teacher", "dpmpp_2m", 6): OTHER})
    for ours in (budget_method(6, 0.5), budget_method(6, 0.5, served=True)):
        assert spacings.of(ours, models) == ours


def test_a_thin_model_has_levels_of_its_own(models):
    own = Spacing(0.01, 4.0)
    key = ("thin quarter", "dpmpp_2m", 8)
    spacings = Spacings({("teacher", "dpmpp_2m", 8): OTHER, key: own})
    thin = dense("thin quarter", "thin", "dpmpp_2m", 8)
    assert spacings.of(thin, models).setting["spacing"] == [0.01, 4.0]
    assert spacings.values() == sorted(spacings.values())


@pytest.mark.parametrize("solver", ["euler", "heun", "dpmpp_2m", "unipc"])
def test_twins_stay_alike_on_other_levels(models, drawn, solver):
    method = spaced(dense("teacher", "teacher", solver, 4), OTHER)
    twin = by_rows(method)
    plain = replace(method, setting={k: v for k, v in method.setting.items() if k != "spacing"})
    mine, theirs, old = (
        runner(m, models)(drawn.labels, drawn.seeds) for m in (method, twin, plain)
    )
    torch.testing.assert_close(mine.x_0, theirs.x_0, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(mine.flops, theirs.flops)
    assert (mine.x_0 - old.x_0).abs().max() > 1e-4


def test_levels_start_at_the_noise_and_end_at_0(models):
    for spacing in (KARRAS, OTHER, Spacing(0.1, 30.0), replace(OTHER, strides=2, knee=6.0)):
        levels = sampling_sigmas(6, models.arch, spacing)
        assert levels[0] == pytest.approx(80)
        assert levels[-2] == pytest.approx(spacing.sigma_min)
        assert levels[-1] == 0
