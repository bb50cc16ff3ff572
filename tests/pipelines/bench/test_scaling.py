"""Scaling compares equal work by the same operators, says how cost grows, and goes on when cut."""

import numpy as np
import pytest
import torch

from nitrogen.model.cache import empty_cache
from nitrogen.model.cost import CostModel
from nitrogen.model.policies import Budget
from nitrogen.model.predictor import predictor_flops
from nitrogen.model.regions import spread_to_pixels
from nitrogen.pipelines.bench import huge, scaling
from nitrogen.pipelines.bench.huge import cache_bytes, huge_picture, needed_bytes
from nitrogen.pipelines.bench.scaling import ScalingConfig, conversion, per_pixel, run_scaling
from nitrogen.pipelines.bench.scaling_step import Step, spread_plan
from nitrogen.pipelines.metrics.timing import Timing

FEW = ScalingConfig(sizes=(32, 64), batches=(1, 2), repeats=2, growth_repeats=3, huge=False)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 1.0])
def test_a_plan_has_its_share_of_active_regions(share):
    widths = spread_plan(2, (8, 8), share).widths
    assert widths.shape == (2, 8, 8)
    assert (widths[0] == 4).sum().item() == pytest.approx(64 * share, abs=1)
    assert set(widths.unique().tolist()) <= {0, 4}


def test_paths_and_their_flops(models):
    step = Step.of(models.teacher.denoiser, models.student.predictor, 64, 2, 0.25)
    cost = CostModel(models.arch, 64, 64)
    dense, adaptive = step.flops()
    assert dense == cost.full_flops
    assert adaptive == cost.fixed_flops + 16 * cost.block_rows(4) + predictor_flops(
        models.arch, cost.num_regions
    )
    single = Step.of(models.teacher.denoiser, models.student.predictor, 64, 1, 0.25)
    assert step.cache_bytes == 2 * single.cache_bytes
    made = {name: step.paths()[name]() for name in ("teacher", "teacher_torch")}
    assert {tuple(x.shape) for x in made.values()} == {(2, 64, 64, 3)}
    torch.testing.assert_close(made["teacher"], made["teacher_torch"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("size", "share"), [(32, 0.25), (64, 0.25), (64, 0.1), (32, 1.0)])
def test_the_adaptive_step_is_a_whole_one_of_its_share(models, size, share):
    """Planned under the budget, charged, and taken by the solver; the same each time."""
    step = Step.of(models.teacher.denoiser, models.student.predictor, size, 2, share)
    assert type(step.sampler.planner.policy) is Budget
    widths = step.planning().plan.widths
    regions = int(share * widths[0].numel())
    assert set(widths.unique().tolist()) <= {0, 4}
    assert [(one > 0).sum().item() for one in widths] == [regions] * 2
    before, after, again = step.state.live, step.adaptive().live, step.adaptive().live
    assert (after.step == before.step + 1).all()
    assert (after.spent - before.spent).tolist() == [step.flops()[1]] * 2
    assert not torch.equal(after.x, before.x)
    assert torch.equal(after.x, again.x)
    # What is held keeps its D: the network ran on the other regions alone.
    changed = (after.denoised - before.denoised).abs().sum(-1) > 0
    assert changed.any()
    assert not changed[~spread_to_pixels(widths > 0, size, size).squeeze(-1)].any()


def test_planning_is_a_part_of_every_row(models):
    step = Step.of(models.teacher.denoiser, models.student.predictor, 64, 1, 0.25)
    row = scaling.measure(step, 3)
    assert 0 < row["planning"]["ms_p50"] < row["adaptive"]["ms_p50"]
    assert set(row["ns_per_pixel"]) == {"teacher", "teacher_torch", "adaptive"}


@pytest.mark.slow
def test_rows_stay_under_the_bound_of_pixels(models, monkeypatch, tmp_path):
    monkeypatch.setattr(scaling, "MAX_BATCH_PIXELS", 64 * 64)
    found = run_scaling(FEW, models.arch, tmp_path, lambda text: None)
    assert [(r["size"], r["batch"]) for r in found["rows"]] == [(32, 1), (32, 2), (64, 1)]
    for row in found["rows"]:
        assert row["active_share"] == 0.25
        assert row["adaptive"]["gflops"] < row["teacher"]["gflops"]
        assert row["teacher_torch"]["gflops"] == row["teacher"]["gflops"]
        assert row["cache_mib"] > 0
    assert (found["per_pixel"]["from"], found["per_pixel"]["to"]) == (32, 64)
    assert len(found["per_pixel"]["ratios"]["adaptive"]) == 3, "growth_repeats"


def test_what_is_measured_is_not_measured_again(models, monkeypatch, tmp_path):
    measured, said = [], []

    def stand_in(step, repeats):
        measured.append((step.x.shape[1], len(step.x)))
        if len(measured) == 3:
            raise KeyboardInterrupt
        names = ("teacher", "teacher_torch", "adaptive")
        size, batch = step.x.shape[1], len(step.x)
        return {"size": size, "batch": batch, "ns_per_pixel": dict.fromkeys(names, 1.0)}

    monkeypatch.setattr(scaling, "measure", stand_in)
    grown = []
    monkeypatch.setattr(scaling, "per_pixel", lambda *_: grown.append(1) or {"adaptive": 1.0})
    with pytest.raises(KeyboardInterrupt):
        run_scaling(FEW, models.arch, tmp_path, said.append)
    assert said[0].endswith("5 measurements to come")
    found = run_scaling(FEW, models.arch, tmp_path, said.append)
    assert measured == [(32, 1), (32, 2), (64, 1), (64, 1), (64, 2)]
    assert [text for text in said if "left] 3 measurements to come" in text]
    assert len(found["rows"]) == 4
    run_scaling(FEW, models.arch, tmp_path, said.append)
    assert (found["per_pixel"], len(grown)) == ({"adaptive": 1.0}, 1)
    # Another share of active regions is another measurement.
    other = FEW.model_copy(update={"active_share": 0.5})
    run_scaling(other, models.arch, tmp_path, said.append)
    assert len(measured) == 9


@pytest.mark.parametrize(
    ("speedup", "flops", "expected"),
    [(2.0, 0.5, 1.0), (2.0, 0.75, 2.0), (0.98, 0.999, None), (0.9, 1.0, None), (0.9, 1.01, None)],
)
def test_conversion_is_undefined_where_next_to_nothing_is_saved(speedup, flops, expected):
    assert conversion(speedup, flops) == expected


@pytest.mark.parametrize(
    ("large", "kept"), [([9.2, 9.4, 9.4], True), ([8.8, 9.4, 10.4], False), ([10.0] * 3, False)]
)
def test_time_per_pixel_is_a_ratio_of_every_repeat(models, monkeypatch, large, kept):
    """4 times the pixels: 8 ms over 2 ms would be linear; the median alone does not decide."""
    of = lambda size: Step.of(  # noqa: E731
        models.teacher.denoiser, models.student.predictor, size, 1, 0.25
    )
    ms = {"from": [2.0, 2.0, 2.0], "to": large}
    monkeypatch.setattr(
        scaling, "time_callables",
        lambda paths, **_: {name: Timing(name, np.array(ms[name.split()[0]])) for name in paths},
    )  # fmt: skip
    found = per_pixel(of(32), of(64), 3)
    assert (found["from"], found["to"], found["bound"], found["kept"]) == (32, 64, 1.2, kept)
    assert found["ratios"]["adaptive"] == pytest.approx([x / 8 for x in large])
    interval = found["intervals"]["adaptive"]
    assert found["adaptive"] == interval["value"] == pytest.approx(large[1] / 8)
    assert interval["low"] == pytest.approx(large[0] / 8)
    assert interval["high"] == pytest.approx(large[2] / 8)
    assert interval["n"] == 3


@pytest.mark.parametrize(
    ("sizes", "ends"), [((32, 128, 1024), (128, 1024)), ((32, 64), (32, 64)), ((64,), (64, 64))]
)
def test_time_per_pixel_is_taken_from_128(sizes, ends):
    assert ScalingConfig(sizes=sizes).ends() == ends


def test_the_large_picture_is_drawn_region_by_region(models):
    found = huge_picture(models.teacher.denoiser, models.student.predictor, 0.25, 256)
    assert found["size"] == 256
    assert len(found["step_ms"]) == found["num_steps"] == 4
    assert found["active_share"] == [1.0, 0.25, 0.25, 0.25]
    assert found["finite"]
    assert found["cache_mib"] > 1
    assert found["peak_mib"] is None or found["peak_mib"] > found["cache_mib"]
    assert found["process_mib"] is None or found["within_16_gb"]


@pytest.mark.parametrize(("process", "inside"), [(16 * 10**9, True), (16 * 10**9 + 1, False)])
def test_the_bound_of_the_large_picture_is_16_gb(models, monkeypatch, process, inside):
    monkeypatch.setattr(huge, "resident_bytes", lambda: process - 5)
    monkeypatch.setattr(huge, "peak_bytes", lambda run: run() or 5)
    found = huge_picture(models.teacher.denoiser, models.student.predictor, 0.25, 64)
    assert found["within_16_gb"] is inside


def test_a_picture_that_memory_cannot_hold_is_not_begun(models, monkeypatch):
    needed = needed_bytes(models.arch, 256)
    monkeypatch.setattr(huge, "free_bytes", lambda: needed - 1)
    found = huge_picture(models.teacher.denoiser, models.student.predictor, 0.25, 256)
    assert set(found) == {"size", "skipped"}
    assert "must be free" in found["skipped"]


def test_the_cache_is_counted_as_it_is_made(models):
    made = empty_cache(models.arch, 1, 64, 64).maps()
    assert cache_bytes(models.arch, 64) == sum(m.numel() * m.element_size() for m in made)
