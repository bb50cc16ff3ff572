"""Every method keeps the same promises; a new one is a line in CASES."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nitrogen.model import row_denoiser
from nitrogen.model.cache import empty_cache
from nitrogen.model.cost import CostModel
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.errors import ModelError
from nitrogen.model.pipeline import Pipeline
from nitrogen.model.price_table import PriceTable
from nitrogen.pipelines.bench.baselines import FirstFeatures
from nitrogen.pipelines.bench.calibrate import pairs
from nitrogen.pipelines.bench.contenders import contenders, dense, threshold_method
from nitrogen.pipelines.bench.controls import CONTROLS, Trace
from nitrogen.pipelines.bench.frontier_config import FrontierConfig
from nitrogen.pipelines.bench.methods import GROUPS, KINDS, Method, runner
from nitrogen.pipelines.bench.quality import sample
from nitrogen.pipelines.bench.row_shell import RowShell
from nitrogen.pipelines.bench.settings import budget_method, schedule_method, served
from nitrogen.pipelines.bench.twins import alike, by_rows
from nitrogen.pipelines.evaluation.residuals import Uniform

DIAL = {"solver": "dpmpp_2m", "num_steps": 6}
CASES = [
    dense("teacher", "teacher", "dpmpp_2m", 6),
    dense("teacher", "teacher", "heun", 3),
    dense("thin quarter", "thin", "unipc", 4),
    dense("teacher", "teacher", "dpmpp_2m", 4, guidance=2.0),
    schedule_method([4, 0, 2, 1, 0, 1]),
    by_rows(dense("thin quarter", "thin", "heun", 3)),
    *(one for method in (
        Method("dc", "cache", "deep_cache", DIAL | {"model": "teacher", "interval": 2}),
        Method("tea", "cache", "tea_cache", DIAL | {"model": "teacher", "threshold": 0.1}),
    ) for one in (method, by_rows(method))),
    Method("ras", "cache", "ras", DIAL | {"model": "teacher", "share": 0.5, "warm_up": 2}),
    Method("ignored", "ignored", "ignored", DIAL),
    budget_method(6, 0.5),
    threshold_method(6, 0.05),
    Method(
        "guided", "ours", "policy", DIAL | {"policy": "budget", "budget": 0.5, "threshold": 0.0},
        2.0,
    ),
]  # fmt: skip


@pytest.mark.parametrize("method", CASES, ids=lambda m: m.name)
def test_a_sample_does_not_depend_on_its_batch_mates(models, drawn, method):
    run = runner(method, models)
    all_of_them = run(drawn.labels, drawn.seeds)
    alone = run(drawn.labels[2:3], drawn.seeds[2:3])
    assert all_of_them.x_0.shape == (len(drawn), 32, 32, 3)
    # Dense layers may round differently by the number of rows: small, and no decision of a batch.
    torch.testing.assert_close(all_of_them.x_0[2:3], alone.x_0, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(all_of_them.flops[2:3], alone.flops)
    torch.testing.assert_close(all_of_them.nfe[2:3], alone.nfe)
    again = run(drawn.labels, drawn.seeds)
    assert torch.equal(again.x_0, all_of_them.x_0)


@pytest.mark.parametrize(
    "method",
    [c for c in CASES if c.operators == "torch"],
    ids=lambda m: m.name,
)
def test_its_flops_are_those_that_torch_counts(models, drawn, method):
    run = runner(method, models)
    with (
        FlopCounterMode(display=False) as counter,
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
    ):
        made = run(drawn.labels, drawn.seeds)
    assert made.flops.sum().item() == counter.get_total_flops()


def test_every_kind_has_a_case():
    assert {case.kind for case in CASES} | {"control"} == set(KINDS)


def test_a_full_schedule_is_the_teachers_own_sampler(models, drawn):
    teacher = runner(dense("student", "static", "dpmpp_2m", 6), models)
    full = runner(schedule_method([4] * 6), models)
    expected, found = (run(drawn.labels, drawn.seeds) for run in (teacher, full))
    torch.testing.assert_close(found.x_0, expected.x_0)
    torch.testing.assert_close(found.flops, expected.flops)


@pytest.mark.parametrize(
    "method",
    [
        dense("teacher", "teacher", "dpmpp_2m", 6),
        dense("teacher", "teacher", "unipc", 5),
        dense("teacher", "teacher", "euler", 5),
        dense("teacher", "teacher", "heun", 3),
        dense("thin quarter", "thin", "dpmpp_2m", 5),
        schedule_method([4, 0, 2, 1, 0, 1]),
        schedule_method([1, 3, 0], "low"),
        Method("dc", "cache", "deep_cache", DIAL | {"model": "teacher", "interval": 2}),
        Method("tea", "cache", "tea_cache", DIAL | {"model": "teacher", "threshold": 0.1}),
    ],
    ids=lambda m: m.name,
)
def test_a_twin_makes_the_same_pictures_of_the_same_flops(models, drawn, method):
    twin = by_rows(method)
    assert (twin.group, twin.model, twin.operators) == (method.group, method.model, "rows")
    assert method.operators == "torch"
    mine, theirs = (sample(runner(m, models), drawn) for m in (method, twin))
    assert alike(mine, theirs)
    np.testing.assert_array_equal(mine.flops, theirs.flops)
    np.testing.assert_array_equal(mine.nfe, theirs.nfe)
    others = sample(runner(by_rows(dense("teacher", "teacher", "euler", 7)), models), drawn)
    assert not alike(mine, others)


def test_rows_that_stand_for_the_dense_path_are_not_bounded_either(models, drawn):
    """A student whose levels arch.layer_width bounds: ours alone runs under the bounds."""
    bounds = {"layer_width": ((0.5, (1, 2)), (0.0, (3, 1)))}
    student = Denoiser(models.arch.model_copy(update=bounds))
    student.load_state_dict(models.student.denoiser.state_dict())
    pipeline = Pipeline(student, models.student.classes, models.student.predictor)
    bounded = dataclasses.replace(models, student=pipeline)
    for method in (
        schedule_method([4, 0, 2, 4, 3, 4]),
        dense("student", "static", "dpmpp_2m", 6),
        Method("ignored", "ignored", "ignored", DIAL),
    ):
        mine, twin = (sample(runner(m, bounded), drawn) for m in (method, by_rows(method)))
        free = sample(runner(method, models), drawn)
        assert alike(mine, twin), method.name
        assert alike(mine, free), method.name
        np.testing.assert_array_equal(mine.flops, free.flops)
        np.testing.assert_array_equal(twin.nfe, free.nfe)
        if method.kind != "ignored":  # its predictor is paid for
            np.testing.assert_array_equal(twin.flops, free.flops)
    guided = dense("student", "static", "dpmpp_2m", 4, guidance=2.0)
    assert alike(*(sample(runner(guided, m), drawn) for m in (bounded, models)))
    ours = threshold_method(6, 0.0)
    assert not alike(*(sample(runner(ours, m), drawn) for m in (bounded, models)))


def test_what_ignores_its_predictor_makes_the_pictures_of_full_rows(models, drawn):
    ignored = Method("ignored", "ignored", "ignored", DIAL)
    twin = by_rows(ignored)
    assert twin.described() == by_rows(schedule_method([4] * 6)).described()
    mine, theirs = (runner(m, models)(drawn.labels, drawn.seeds) for m in (ignored, twin))
    assert torch.equal(mine.x_0, theirs.x_0)
    assert (mine.flops > theirs.flops).all()


def test_only_what_has_an_equal_by_rows_has_a_twin():
    for case in CASES:
        torch_kinds = ("dense", "schedule", "deep_cache", "tea_cache")
        wanted = case.kind in (*torch_kinds, "ignored") and case.guidance == 1
        assert (by_rows(case) is not None) == wanted, case.name


def test_a_schedule_cannot_start_with_what_is_not_there(models):
    with pytest.raises(AssertionError, match="nothing that it could keep"):
        runner(by_rows(schedule_method([0, 4])), models)


def test_intervals_and_bounds_of_one_step_are_the_teacher(models, drawn):
    expected = runner(dense("teacher", "teacher", "dpmpp_2m", 6), models)
    base = DIAL | {"model": "teacher"}
    for kind, own in (("deep_cache", {"interval": 1}), ("tea_cache", {"threshold": 0.0})):
        run = runner(Method(kind, "cache", kind, base | own), models)
        found = run(drawn.labels, drawn.seeds)
        torch.testing.assert_close(
            found.x_0, expected(drawn.labels, drawn.seeds).x_0, rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize(("interval", "num_shells"), [(1, 0), (2, 6), (3, 6), (9, 7)])
def test_deep_cache_by_rows_makes_one_cache_and_splits_no_call_in_vain(
    models, drawn, monkeypatch, interval, num_shells
):
    """7 steps; a whole step whose deep feature nobody reads is the network's own single call."""
    caches, shells = [], []

    def counted(*args, **kwargs):
        caches.append(empty_cache(*args, **kwargs))
        return caches[-1]

    def watched(self, *args):
        shells.append(args)
        return whole(self, *args)

    whole = RowShell.__call__
    monkeypatch.setattr(row_denoiser, "empty_cache", counted)
    monkeypatch.setattr(RowShell, "__call__", watched)
    setting = DIAL | {"model": "teacher", "interval": interval, "num_steps": 7}
    run = runner(by_rows(Method("dc", "cache", "deep_cache", setting)), models)
    for _ in range(2):
        run(drawn.labels, drawn.seeds)
    assert len(caches) == 1
    assert len(shells) == 2 * num_shells


def test_caches_cost_less(models, drawn):
    full = 6 * models.cost.full_flops
    base = DIAL | {"model": "teacher"}
    deep = runner(Method("d", "cache", "deep_cache", base | {"interval": 3}), models)
    tea = runner(Method("t", "cache", "tea_cache", base | {"threshold": 100.0}), models)
    ras = runner(Method("r", "cache", "ras", base | {"share": 0.25, "warm_up": 1}), models)
    deep_flops, tea_made = deep(drawn.labels, drawn.seeds).flops, tea(drawn.labels, drawn.seeds)
    assert (deep_flops < full).all()
    assert tea_made.nfe.tolist() == [2.0] * len(drawn)  # the first and the last step
    widths = ras(drawn.labels, drawn.seeds).widths
    computed = (widths > 0).flatten(2).sum(dim=2)
    assert computed[0].tolist() == [16, 4, 4, 4, 4, 16]


def test_guidance_is_charged_twice(models, drawn):
    plain = runner(dense("teacher", "teacher", "dpmpp_2m", 4), models)(drawn.labels, drawn.seeds)
    run = runner(dense("teacher", "teacher", "dpmpp_2m", 4, guidance=2.0), models)
    guided = run(drawn.labels, drawn.seeds)
    torch.testing.assert_close(guided.flops, 2 * plain.flops)
    torch.testing.assert_close(guided.nfe, 2 * plain.nfe)
    assert (guided.x_0 - plain.x_0).abs().max() > 1e-3


def test_a_budget_is_kept(models, drawn):
    cost: CostModel = models.cost
    for share in (0.3, 0.5, 0.9):
        made = runner(budget_method(6, share), models)(drawn.labels, drawn.seeds)
        assert (made.flops <= share * 6 * cost.full_flops).all()


def test_a_budget_as_served_is_what_the_library_gives(models, drawn):
    prices = PriceTable({6: ((1e-9, 0.95), (1e-6, 0.6), (1e-3, 0.3))})
    student = Pipeline(
        models.student.denoiser, models.student.classes, models.student.predictor, prices
    )
    with_prices = dataclasses.replace(models, student=student)
    tuned = budget_method(6, 0.6, 1e-4, "low", price=1e-7)
    for method in (budget_method(6, 0.6, served=True), served(tuned)):
        threshold = method.setting["threshold"]
        made = student.generate(
            drawn.labels, drawn.seeds, num_inference_steps=6, policy="budget", budget=0.6,
            threshold=threshold,
        )  # fmt: skip
        row = sample(runner(method, with_prices), drawn)
        np.testing.assert_array_equal(row.images, made.images.numpy())
        np.testing.assert_allclose(row.flops / 1e9, [one.gflops for one in made.stats])
    # The price matters: equal shares, and a price of our own, spend otherwise.
    plans = {
        sample(runner(budget_method(6, 0.6, **planner), with_prices), drawn).widths.tobytes()
        for planner in ({"served": True}, {}, {"price": 1.0})
    }
    assert len(plans) == 3


def test_the_contenders_are_of_known_kinds_and_groups(models):
    for config in (FrontierConfig(), FrontierConfig.day(), FrontierConfig.quick()):
        methods = list(contenders(config, models))
        assert {m.kind for m in methods} <= set(KINDS)
        assert {m.group for m in methods} <= set(GROUPS)
        names = [m.name for m in methods]
        assert len(set(names)) == len(names)


def test_a_control_runs_the_widths_of_its_row(models, drawn):
    ours = budget_method(6, 0.45)
    made = runner(ours, models)(drawn.labels, drawn.seeds)
    widths = made.widths.numpy().astype(np.uint8)
    assert len({w.tobytes() for w in widths}) > 1, "the plans must differ between samples"
    trace = Trace(tuple(drawn.seeds), widths)
    for how in CONTROLS:
        setting = DIAL | {"how": how, "of": ours.name}
        method = Method(how, "control", "control", setting, trace=trace)
        ran = runner(method, models)(drawn.labels, drawn.seeds)
        expected, found = (
            np.sort(w.reshape(*w.shape[:2], -1)) for w in (widths, ran.widths.numpy())
        )
        np.testing.assert_array_equal(found, expected)
        # Equal widths cost the same; ours pays for its predictor besides.
        predictor = made.flops - ran.flops
        torch.testing.assert_close(predictor, predictor[:1].expand_as(predictor))
        assert (predictor > 0).all()
        assert (ran.widths.numpy() != widths).any(), how


def test_a_strided_student_runs_everywhere(strided, models, drawn):
    full = runner(schedule_method([4] * 6), strided)(drawn.labels, drawn.seeds)
    dense_run = runner(dense("student", "static", "dpmpp_2m", 6), strided)
    by_policy = Method("rows", "ignored", "policy", DIAL | {"policy": "full"})
    twin = by_rows(schedule_method([4] * 6))
    for other in (dense_run, runner(by_policy, strided), runner(twin, strided)):
        made = other(drawn.labels, drawn.seeds)
        torch.testing.assert_close(made.x_0, full.x_0, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(made.flops, full.flops)
    plain = runner(schedule_method([4] * 6), models)(drawn.labels, drawn.seeds)
    assert (plain.x_0 - full.x_0).abs().max() > 1e-3
    made = runner(budget_method(6, 0.6), strided)(drawn.labels, drawn.seeds)
    assert (made.flops <= 0.6 * 6 * strided.cost_of("student").full_flops).all()
    trace = Trace(tuple(drawn.seeds), made.widths.numpy().astype(np.uint8))
    oracle = Method("o", "control", "control", DIAL | {"how": "oracle", "of": "x"}, trace=trace)
    assert runner(oracle, strided)(drawn.labels, drawn.seeds).x_0.isfinite().all()
    assert np.nanmin(pairs(strided, Uniform(), drawn, 6).actual) >= 0


def test_first_features_refuse_a_strided_denoiser(models):
    strided = Denoiser(models.arch.model_copy(update={"strided": True}))
    with pytest.raises(ModelError, match="must not be strided for first features"):
        FirstFeatures(strided)
