"""Scaling compares equal work, and says how cost grows."""

import pytest
import torch

from nitrogen.model.cost import CostModel
from nitrogen.model.predictor import predictor_flops
from nitrogen.pipelines.bench import scaling
from nitrogen.pipelines.bench.memory import peak_bytes
from nitrogen.pipelines.bench.scaling import (
    ScalingConfig,
    Step,
    conversion,
    huge_picture,
    per_pixel,
    run_scaling,
    spread_plan,
)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 1.0])
def test_a_plan_has_its_share_of_active_regions(share):
    widths = spread_plan(2, (8, 8), share).widths
    assert widths.shape == (2, 8, 8)
    assert (widths[0] == 4).sum().item() == pytest.approx(64 * share, abs=1)
    assert set(widths.unique().tolist()) <= {0, 4}


def test_flops_of_both_paths(models):
    step = Step.of(
        models.teacher.denoiser, models.student.predictor, 64, 2, ScalingConfig(active_share=0.25)
    )
    cost = CostModel(models.arch, 64, 64)
    dense, adaptive = step.flops()
    assert dense == cost.full_flops
    active = int((step.plan.widths[0] > 0).sum())
    assert adaptive == cost.fixed_flops + active * cost.block_rows(4) + predictor_flops(
        models.arch, cost.num_regions
    )
    assert (
        step.cache_bytes
        == 2
        * Step.of(
            models.teacher.denoiser, models.student.predictor, 64, 1, ScalingConfig()
        ).cache_bytes
    )
    assert step.dense().shape == step.adaptive().shape == (2, 64, 64, 3)


def test_rows_stay_under_the_bound_of_pixels(models, monkeypatch):
    monkeypatch.setattr(scaling, "MAX_BATCH_PIXELS", 64 * 64)
    found = run_scaling(ScalingConfig.quick(), models.arch, lambda text: None)
    assert [(r["size"], r["batch"]) for r in found["rows"]] == [(32, 1), (32, 2), (64, 1)]
    for row in found["rows"]:
        assert row["active_share"] == 0.25
        assert row["adaptive"]["gflops"] < row["teacher"]["gflops"]
        assert row["cache_mib"] > 0
    assert (found["per_pixel"]["from"], found["per_pixel"]["to"]) == (32, 64)


@pytest.mark.parametrize(
    ("speedup", "flops", "expected"),
    [(2.0, 0.5, 1.0), (2.0, 0.75, 2.0), (0.98, 0.999, None), (0.9, 1.0, None), (0.9, 1.01, None)],
)
def test_conversion_is_undefined_where_next_to_nothing_is_saved(speedup, flops, expected):
    assert conversion(speedup, flops) == expected


def test_time_per_pixel_is_taken_from_128():
    rows = [
        {"size": s, "batch": b, "ns_per_pixel": {"teacher": t, "adaptive": 2 * t}}
        for s, b, t in ((32, 1, 9.0), (128, 1, 2.0), (128, 8, 1.0), (1024, 1, 3.0))
    ]
    assert per_pixel(rows) == {"from": 128, "to": 1024, "teacher": 1.5, "adaptive": 1.5}


def test_the_large_picture_reports_its_cache_and_peak(models):
    found = huge_picture(ScalingConfig(), models.teacher.denoiser, models.student.predictor, 256)
    assert found["size"] == 256
    assert found["ms"] > 0
    assert found["cache_mib"] > 1
    # The peak is growth of the resident set: an allocator that has room shows none.
    assert found["peak_mib"] is None or found["within_16_gib"]


def test_peak_memory_sees_what_a_call_takes_and_gives_back():
    peak = peak_bytes(lambda: torch.ones(32 * 2**20).sum())  # 128 MiB
    if peak is None:
        pytest.skip("this kernel does not reset VmHWM")
    assert 100 * 2**20 < peak < 400 * 2**20
    assert peak_bytes(lambda: None) < 16 * 2**20
