"""`bench kernels` and `bench step`: whole records, bounds, and no speed for what is wrong."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nitrogen.kernels.cpu.library import cpu_available
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.pipeline import Pipeline
from nitrogen.model.planning import Planner
from nitrogen.model.predictor import Predictor
from nitrogen.model.price_table import PriceTable
from nitrogen.pipelines.bench import kernels, step
from nitrogen.pipelines.bench.step_networks import steppers, trained, untrained
from nitrogen.pipelines.commands.bench_kernels import verdict
from nitrogen.pipelines.metrics.timing import Timing
from nitrogen.platform.errors import ConfigError, DataError

KEYS = {"op", "provider", "case", "shape", "metric", "unit", "p20", "p50", "p80"}
ABOUT = {"hardware", "threads", "commit", "date", "load_1m"}


@pytest.fixture(scope="module")
def tiny():
    return untrained("tiny", "cpu")


def test_every_record_says_what_was_measured_where(monkeypatch):
    monkeypatch.setattr(kernels, "MAPS", ((32, 1, 4),))
    records = list(kernels.run("cpu", repeats=3, quick=True))
    assert all(record.keys() >= KEYS | ABOUT for record in records)
    assert {r["op"] for r in records} == {
        "row_mlp", "norm_modulate", "depthwise", "gated_add", "row_linear", "row_qkv",
        "row_attention", "region_stats", "ode_exit", "plan_rows",
    }  # fmt: skip
    assert {"gemms", "torch", "eager"} <= {r["provider"] for r in records}
    fewer_bits = {
        r["case"]: r["relative_rms"] for r in records if r["provider"] == "torch" and r["case"]
    }
    assert set(fewer_bits) == {"bf16", "int8 dynamic"}
    assert all(1e-4 < error < 0.1 for error in fewer_bits.values())


def test_a_part_of_the_shapes_is_timed_alone():
    records = list(kernels.run("cpu", 3, channels=(16,), num_rows=(64, 65)))
    assert {tuple(r["shape"]) for r in records} == {(64, 16, 64), (65, 16, 64)}
    assert {r["op"] for r in records} == {"row_mlp"}
    bounded = {r["provider"] for r in records if "bound" in r}
    assert bounded == ({"cpu"} if cpu_available() else set()), "asked of the kernels alone"


def test_a_wrong_kernel_has_no_speed(monkeypatch):
    [eager] = [p for p in kernels.MLP.providers if p.name == "eager"]
    lazy = replace(eager, name="lazy", kernel=lambda: lambda *args: None)  # writes nothing
    monkeypatch.setattr(kernels, "MLP", replace(kernels.MLP, providers=(eager, lazy)))
    records = list(kernels.mlp_records(kernels.Shape(16, 64), "cpu", repeats=3))
    wrong = [r for r in records if r["provider"] == "lazy"]
    assert wrong
    assert all(r.get("failed") and r["metric"] == "relative_rms" for r in wrong)
    assert not any(r.get("failed") for r in records if r["provider"] == "eager")


@pytest.mark.parametrize(("ms", "within"), [(0.575, True), (0.585, False)])
def test_the_bound_is_a_share_and_twenty_microseconds(ms, within):
    whole, part = Timing("whole", np.full(9, 1.0)), Timing("part", np.full(9, ms))
    got = kernels.mlp_figures("cpu rows 0.5 width 1", part, whole, whole, 1e6)
    assert got["bound"] == pytest.approx(0.58)
    assert got["within"] is within
    assert got["of_dense_interval"] == [ms, ms]


def test_a_step_is_timed_with_all_that_it_needs(tiny):
    records = list(step.run(tiny, 32, (2,), "cpu", repeats=3))
    ways = {f"{r['provider']} {r['case']}": r for r in records}
    assert set(ways) == {
        "dense network", "dense step", "rows full", "rows half", "step full", "step half",
        "step budget 0.5",
    }  # fmt: skip
    bounds = {name: r["bound"] for name, r in ways.items() if "bound" in r}
    assert bounds == {"step full": 1.08, "step half": 0.58, "step budget 0.5": 0.58}
    assert all(r["within"] is (r["of_dense"] <= r["bound"]) for r in records if "bound" in r)
    alone = {r["case"]: r["of_network"] for r in records if "of_network" in r}
    assert set(alone) == {"full", "half"}
    assert all(record.keys() >= KEYS | ABOUT for record in records)


def test_what_a_step_computes_stands_beside_its_time(tiny):
    steps = steppers(tiny, 3, 32)
    shares = {name: one.shares() for name, one in steps.items()}
    assert shares["step full"]["width_share"] == 1 < shares["step full"]["flops_share"]
    assert shares["step half"]["rows_share"] == shares["step half"]["width_share"] == 0.5
    spent = shares["step budget 0.5"]
    assert 0 < spent["width_share"] <= spent["rows_share"]
    assert 0.42 < spent["flops_share"] <= 0.5  # its ceiling, prediction included
    live = steps["step budget 0.5"].state.live
    before = steps["step budget 0.5"].sampler.planner.plan(live)
    steps["step budget 0.5"]()
    assert torch.equal(
        before.plan.widths, steps["step budget 0.5"].sampler.planner.plan(live).plan.widths
    )


@pytest.mark.skipif(not cpu_available(), reason="no compiler, no AVX2")
@torch.no_grad()
def test_the_budget_is_planned_as_for_users(tiny, monkeypatch):
    steps = steppers(tiny, 2, 32)
    by_parts = []
    whole = Planner._by_parts
    monkeypatch.setattr(Planner, "_by_parts", lambda *args: by_parts.append(1) or whole(*args))
    for name, one in steps.items():
        by_parts.clear()
        one()
        assert one.planned() == ("by parts" if by_parts else "in one call"), name
    assert steps["step budget 0.5"].planned() == "in one call"
    assert steps["step half"].planned() == "by parts"


def test_a_trained_student_brings_its_prices(tiny, tmp_path):
    arch = tiny.denoiser.arch
    prices = PriceTable({8: ((1e-12, 0.9), (1e-10, 0.1))})
    classes = [str(label) for label in range(arch.num_classes)]
    Pipeline(tiny.denoiser, classes, tiny.predictor, prices).save(tmp_path / "with")
    networks = trained(tmp_path / "with", "cpu")
    assert networks.budgeted.price == prices.price(0.5, networks.num_steps)
    assert steppers(networks, 1, 32)["step budget 0.5"].state.live.num_steps.tolist() == [8]
    Pipeline(tiny.denoiser, classes).save(tmp_path / "without")
    with pytest.raises(DataError, match="--run must hold a student with a predictor"):
        trained(tmp_path / "without", "cpu")


def test_a_strided_network_is_timed_too(tiny):
    strided = tiny.denoiser.arch.model_copy(update={"strided": True})
    networks = replace(tiny, denoiser=Denoiser(strided).eval(), predictor=Predictor(strided).eval())
    records = list(step.run(networks, 32, (1,), "cpu", repeats=3))
    assert {r["case"] for r in records} >= {"network", "full", "budget 0.5"}


def test_fewer_bits_stand_beside_the_others_with_their_error(tiny):
    records = list(step.run(tiny, 32, (1,), "cpu", repeats=3, lower=True))
    errors = {f"{r['provider']} {r['case']}": r["relative_rms"] for r in records[-2:]}
    assert set(errors) == {"bf16 rows", "int8 network"}
    assert all(1e-5 < error < 0.05 for error in errors.values())


@pytest.mark.slow  # traced for real; inductor's C++ would take most of a minute
def test_a_compiled_network_stands_beside_the_others_in_one_run(tiny):
    records = list(step.run(tiny, 32, (1,), "cpu", repeats=3, backend="aot_eager"))
    ways = {f"{r['provider']} {r['case']}": r for r in records}
    assert set(ways) >= {"compiled network", "compiled step", "dense network", "step full"}
    assert ways["compiled network"]["of_dense"] > 0
    assert ways["compiled network"]["n"] == ways["dense network"]["n"] == 3


def test_a_compiled_network_that_is_wrong_has_no_speed(tiny, monkeypatch):
    def without_skip(denoiser, backend):
        return lambda x, sigma, labels: denoiser(x, sigma, labels)[0] - 0.01 * x

    monkeypatch.setattr(step, "compiled_network", without_skip)
    records = list(step.run(tiny, 32, (1,), "cpu", repeats=3, backend="inductor"))
    shown = [r for r in records if r["provider"] == "compiled"]
    assert [r["failed"] for r in shown] == [True]
    assert len(records) == 8


def test_where_nothing_compiles_a_sentence_says_so(tiny, monkeypatch):
    def broken(*_):
        raise RuntimeError("no compiler\nand more")

    monkeypatch.setattr(step, "compiled_network", lambda denoiser, backend: broken)
    with pytest.raises(ConfigError, match="must be given where torch"):
        next(step.run(tiny, 32, (1,), "cpu", repeats=3, backend="inductor"))


def test_the_verdict_counts_and_names_what_is_outside():
    inside = {"bound": 0.58, "within": True}
    outside = {
        "op": "step", "shape": [8, 32, 32], "provider": "step", "case": "half", "bound": 0.58,
        "within": False, "of_dense": 0.6, "of_dense_interval": [0.55, 0.65],
    }  # fmt: skip
    assert list(verdict([inside, {}, outside])) == [
        "1 of 2 within their bound of the dense time",
        "outside: step 8x32x32 step half takes 0.600 (0.550 to 0.650), at most 0.58",
    ]
    assert list(verdict([{}])) == []
