"""Schedules of widths: chosen by budget, kept beside the weights, the same for every picture."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nitrogen.model.config_file import write_schedules
from nitrogen.model.cost import CostModel
from nitrogen.model.errors import BudgetError, WeightsError
from nitrogen.model.pipeline import Pipeline
from nitrogen.model.policies import Static, make_policy
from nitrogen.model.request import Request
from nitrogen.model.sampler import Sampler
from nitrogen.model.width_table import WidthTable

TABLE = WidthTable({
    4: ((0.4, (1, 1, 1, 1)), (0.6, (1, 2, 0, 4)), (1.0, (4, 4, 4, 4))),
    8: ((0.5, (1, 1, 1, 1, 1, 2, 2, 2)),),
})  # fmt: skip


@pytest.mark.parametrize(
    ("budget", "num_steps", "widths"),
    [
        (0.6, 4, (1, 2, 0, 4)), (0.99, 4, (1, 2, 0, 4)), (1.0, 4, (4, 4, 4, 4)),
        (0.2, 4, (1, 1, 1, 1)), (0.6, 2, (2, 4)), (0.6, 5, (1, 2, 0, 0, 4)), (0.6, 1, (1,)),
        (0.6, 900, (1,) * 562 + (2,) * 338),
    ],
)  # fmt: skip
def test_a_budget_has_its_schedule(budget, num_steps, widths):
    assert TABLE.widths(budget, num_steps) == widths


def test_a_table_survives_json():
    assert WidthTable.from_json(TABLE.to_json()) == TABLE


@pytest.mark.parametrize(
    "content",
    [
        [], {}, {"2": []}, {"x": [[0.5, [1, 1]]]}, {"0": [[0.5, []]]}, {"2": [[0.5]]},
        {"2": [[0.5, [1]]]}, {"2": [[0.5, [1, 5]]]}, {"2": [[0.5, [1, -1]]]},
        {"2": [[0.5, [0, 1]]]}, {"2": [[0.5, [1, 1.0]]]}, {"2": [[0.5, [1, True]]]},
        {"2": [[0.5, "11"]]}, {"2": [[0.0, [1, 1]]]}, {"2": [[math.nan, [1, 1]]]},
        {"2": [[math.inf, [1, 1]]]}, {"2": [[0.6, [1, 1]], [0.5, [2, 2]]]},
        {"2": [[0.5, [1, 1]]] * 65}, {"1001": [[0.5, [1] * 1001]]}, {"9" * 400: [[0.5, [1]]]},
        {"2": "text"}, {"2": [[10**400, [1, 1]]]},
    ],
)  # fmt: skip
def test_another_table_is_refused(content):
    with pytest.raises(WeightsError, match="schedules must have a width of 0 to 4"):
        WidthTable.from_json(content)


def share_of(arch, widths):
    cost = CostModel(arch, 32, 32)
    per_step = [
        cost.fixed_flops + cost.num_regions * cost.block_rows(w) if w else 0 for w in widths
    ]
    return sum(per_step) / (len(widths) * cost.full_flops)


@pytest.mark.parametrize("widths", [(4, 0, 3, 0, 1), (1, 1, 1, 1, 4), (4, 4, 0, 0, 0)])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_a_schedule_that_fits_runs_as_it_is(denoiser, widths, guidance):
    share = math.ceil(1e6 * share_of(denoiser.arch, widths)) / 1e6
    sampler = Sampler(denoiser, Static(widths=widths))
    done = sampler.run([Request(0, 1, 5, guidance, share), Request(2, 9, 5, guidance, share)])
    for one in done:
        assert one.widths.flatten(1).unique(dim=1).squeeze(1).tolist() == list(widths)
        assert one.flops == done[0].flops <= share * one.full_flops


@settings(max_examples=40)
@given(
    widths=st.lists(st.integers(0, 4), min_size=1, max_size=7),
    budget=st.floats(0.15, 1.2),
    steps=st.integers(1, 8),
    guidance=st.sampled_from([1.0, 2.0]),
    solver=st.sampled_from(["dpmpp_2m", "heun", "euler"]),
    dense_last=st.booleans(),
)
def test_a_table_never_passes_a_ceiling_and_no_picture_costs_more_than_another(
    denoiser, widths, budget, steps, guidance, solver, dense_last
):
    """A table may claim what it likes: here every schedule says that it costs next to nothing."""
    widths[0] = max(1, widths[0])
    table = WidthTable({len(widths): ((1e-9, tuple(widths)),)})
    sampler = Sampler(denoiser, Static(widths=table.widths(budget, steps)), solver_name=solver)
    try:
        done = sampler.run(
            [Request(i, 7 * i, steps, guidance, budget, dense_last) for i in range(3)]
        )
    except BudgetError:
        return
    assert all(one.flops <= budget * one.full_flops for one in done)
    assert all(torch.equal(one.widths, done[0].widths) for one in done)
    assert bool(done[0].x_0.isfinite().all())


def test_a_saved_student_runs_its_schedules(denoiser, predictor, tmp_path):
    classes = [f"c{i}" for i in range(denoiser.arch.num_classes)]
    Pipeline(denoiser, classes, predictor).save(tmp_path)
    drawn = {"labels": [0, 1], "seeds": [1, 2], "num_inference_steps": 5, "policy": "static"}
    plain = Pipeline.load(tmp_path)
    assert plain.schedules is None
    widths = (3, 1, 0, 1, 4)
    share = math.ceil(1e6 * share_of(denoiser.arch, widths)) / 1e6
    write_schedules(tmp_path, WidthTable({5: ((share, widths),)}))
    with_table = Pipeline.load(tmp_path)
    heats = [p.generate(**drawn, budget=share).stats[0].heatmap for p in (plain, with_table)]
    ran = heats[1].flatten(1)
    assert bool((ran == ran[:, :1]).all())
    assert [bool(step.any()) for step in ran] == [True, True, False, True, True]
    assert not torch.equal(*heats)
    # Without a budget the default schedule holds, table or not.
    free = [p.generate(**drawn).stats[0].heatmap for p in (plain, with_table)]
    assert torch.equal(*free)
    with_table.save(tmp_path / "again")
    assert Pipeline.load(tmp_path / "again").schedules == with_table.schedules


def test_a_broken_predictor_falls_back_to_the_students_schedule(denoiser, predictor):
    widths = (3, 1, 0, 1, 4)
    share = math.ceil(1e6 * share_of(denoiser.arch, widths)) / 1e6 + 0.05
    table = WidthTable({5: ((share, widths),)})
    broken = type(predictor)(denoiser.arch)
    torch.nn.init.constant_(broken.residual.bias, math.nan)
    pipeline = Pipeline(denoiser, ["a", "b", "c"], broken, schedules=table)
    made = pipeline.generate([0], [1], num_inference_steps=5, policy="budget", budget=share)
    assert made.stats[0].fallbacks == 5
    heat = made.stats[0].heatmap.flatten(1).mean(dim=1)
    assert bool(heat[2] == 0)
    assert bool(heat[0] > heat[1] > 0)
    assert bool(heat[4] == 1)


def test_static_is_as_it_was_without_a_table():
    assert make_policy("static", None, 0.5) == Static()
