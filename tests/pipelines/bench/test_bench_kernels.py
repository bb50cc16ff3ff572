"""`bench kernels` and `bench step`: whole records, bounds, and no speed for what is wrong."""

from dataclasses import replace

import numpy as np
import pytest

from nitrogen.pipelines.bench import kernels, step
from nitrogen.pipelines.metrics.timing import Timing
from nitrogen.platform.errors import ConfigError

KEYS = {"op", "provider", "case", "shape", "metric", "unit", "p20", "p50", "p80"}
ABOUT = {"hardware", "threads", "commit", "date", "load_1m"}


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


def test_a_wrong_kernel_has_no_speed(monkeypatch):
    [eager] = [p for p in kernels.MLP.providers if p.name == "eager"]
    lazy = replace(eager, name="lazy", kernel=lambda: lambda *args: None)  # writes nothing
    monkeypatch.setattr(kernels, "MLP", replace(kernels.MLP, providers=(eager, lazy)))
    records = list(kernels.mlp_records(kernels.Shape(16, 64), "cpu", repeats=3))
    wrong = [r for r in records if r["provider"] == "lazy"]
    assert wrong
    assert all(r.get("failed") and r["metric"] == "relative_rms" for r in wrong)
    assert not any(r.get("failed") for r in records if r["provider"] == "eager")


@pytest.mark.parametrize(("ms", "kept"), [(0.575, True), (0.585, False)])
def test_the_bound_is_a_share_and_twenty_microseconds(ms, kept):
    whole, part = Timing("whole", np.full(9, 1.0)), Timing("part", np.full(9, ms))
    got = kernels.mlp_figures("cpu rows 0.5 width 1", part, whole, whole, 1e6)
    assert got["bound"] == pytest.approx(0.58)
    assert got["kept"] is kept
    assert got["of_dense_interval"] == [ms, ms]


def test_a_step_is_timed_with_all_that_it_needs():
    records = list(step.run("tiny", 32, (2,), "cpu", repeats=3))
    ways = {f"{r['provider']} {r['case']}": r for r in records}
    assert set(ways) == {
        "dense network", "dense step", "rows full", "rows half", "step full", "step half",
    }  # fmt: skip
    assert ways["step full"]["bound"] == 1.08
    assert ways["step half"]["bound"] == 0.58


@pytest.mark.slow  # traced for real; inductor's C++ would take most of a minute
def test_a_compiled_network_stands_beside_the_others_in_one_run():
    records = list(step.run("tiny", 32, (1,), "cpu", repeats=3, backend="aot_eager"))
    ways = {f"{r['provider']} {r['case']}": r for r in records}
    assert set(ways) >= {"compiled network", "compiled step", "dense network", "step full"}
    assert ways["compiled network"]["of_dense"] > 0
    assert ways["compiled network"]["n"] == ways["dense network"]["n"] == 3


def test_a_compiled_network_that_is_wrong_has_no_speed(monkeypatch):
    def without_skip(denoiser, backend):
        return lambda x, sigma, labels: denoiser(x, sigma, labels)[0] - 0.01 * x

    monkeypatch.setattr(step, "compiled_network", without_skip)
    records = list(step.run("tiny", 32, (1,), "cpu", repeats=3, backend="inductor"))
    shown = [r for r in records if r["provider"] == "compiled"]
    assert [r["failed"] for r in shown] == [True]
    assert len(records) == 7


def test_where_nothing_compiles_a_sentence_says_so(monkeypatch):
    def broken(*_):
        raise RuntimeError("no compiler\nand more")

    monkeypatch.setattr(step, "compiled_network", lambda denoiser, backend: broken)
    with pytest.raises(ConfigError, match="must be given where torch"):
        next(step.run("tiny", 32, (1,), "cpu", repeats=3, backend="inductor"))
