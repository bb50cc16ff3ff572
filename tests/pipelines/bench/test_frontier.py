"""The whole benchmark on tiny random models: rows, splits, caching, resuming, the plot."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from nitrogen.model.errors import BudgetError
from nitrogen.model.predictor import predictor_flops
from nitrogen.pipelines.bench import (
    conditions,
    kept_tiers,
    kept_tuning,
    saving,
)
from nitrogen.pipelines.bench import frontier as module
from nitrogen.pipelines.bench.ceilings import TIERS, ceiling
from nitrogen.pipelines.bench.contenders import contenders, dense
from nitrogen.pipelines.bench.contest import Contest
from nitrogen.pipelines.bench.frontier import run_frontier
from nitrogen.pipelines.bench.frontier_config import FrontierConfig
from nitrogen.pipelines.bench.gain_ranking import GAINS
from nitrogen.pipelines.bench.models import REPORT_SPLIT, TRAIN_SPLIT, TUNE_SPLIT
from nitrogen.pipelines.bench.pareto_plot import draw_pareto
from nitrogen.pipelines.bench.row_store import Row, RowStore
from nitrogen.pipelines.bench.twins import with_twins
from nitrogen.pipelines.results.pairing import saving_pairs
from nitrogen.pipelines.sampling import Draws

TINY = FrontierConfig.quick().model_copy(
    update={
        "num_images": 6, "num_controls": 5, "num_guided": 4, "num_headline": 8, "num_tune": 4,
        "num_moves": 2, "tune_steps": (3, 5), "rounds": 2, "batches": (1, 2),
        "num_saving": 6, "saving_steps": (5,), "pair_rounds": 3,
        "teacher_steps": {"euler": (8,), "heun": (3,), "dpmpp_2m": (3, 5, 8), "unipc": (4,)},
        "exit_images": 4, "exit_steps": 6, "num_calibration": 6, "resamples": 100,
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module", autouse=True)
def few_pictures(made_up_pictures):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saving, "as_near", cheaper)  # made-up networks are never as near
        yield


@pytest.fixture(scope="module")
def result(models, folder, extract, told):
    return run_frontier(TINY, models, folder, extract, told.append)


def cheaper(worth, method, teacher):
    """Of any distance: KID of sixteen made-up pictures may be below 0, so no multiple of it is."""
    try:
        return worth(method).spent < teacher.spent
    except BudgetError:
        return False


def sampled(told):
    """What was drawn anew, by what the benchmark said."""
    said = [text.partition(" left] ")[2] for text in told if "left] " in text]
    return [text for text in said if "timing" not in text and "rows at hand" not in text]


@pytest.mark.slow
def test_the_file_holds_every_group_and_figure(result):
    groups = {row["group"] for row in result["rows"]}
    assert groups == {"teacher", "thin", "static", "cache", "control", "ignored", "ours"}
    assert set(result["summary"]) == {"1", "2"}
    assert set(result["gain_ranking"]["gains"]) == set(GAINS)
    assert result["gain_ranking"]["n"] == TINY.num_calibration
    longest = [row for row in result["headline"] if row["group"] == "teacher"][-1]
    assert longest["setting"]["num_steps"] == max(TINY.teacher_steps["dpmpp_2m"])
    for figures in result["summary"].values():
        assert set(figures["tiers"]) == set(TIERS)
        assert set(figures["speedup_at_equal_quality"]) == set(TIERS)
        for gains in figures["adaptivity_gain"].values():
            assert set(gains) == {"random", "shuffled", "time_average", "centre"}
        assert "8" in figures["predictor_share"]
        run = {r["setting"]["num_steps"] for r in result["rows"]
               if r["group"] == "ours" and r["setting"].get("tier")}  # fmt: skip
        assert run <= {int(steps) for steps in figures["full_width"]}
    assert result["saving"] == {"5": "ours saving, 5 steps"}
    for batch, figures in result["summary"].items():
        one = figures["latency"]["rows"]["ours saving, 5 steps"]
        assert one["saved"]["n"] == one["saved_over_torch"]["n"] == TINY.pair_rounds
        assert figures["predictor_share"]["8"]["n"] == TINY.pair_rounds
        assert [p.ours["name"] for p in saving_pairs(result, batch)] == ["ours saving, 5 steps"]
    assert {"regions", "threshold"} & set(result["forward_passes_saved"])
    assert len(result["calibration"]["thresholds"]) == 3
    json.dumps(result, allow_nan=False)


@pytest.mark.slow
def test_rows_say_what_the_contract_asks(result):
    names = [row["name"] for row in result["rows"]]
    assert len(set(names)) == len(names)
    for row in result["rows"]:
        assert row["n"] == (5 if row["group"] == "control" else 6 if row["guidance"] == 1 else 4)
        assert row["mse"]["low"] <= row["mse"]["value"] <= row["mse"]["high"]
        assert row["kid"]["n"] == row["n"]
        assert row["gflops"] > 0
        assert row["nfe"] >= 1
        timed = row["setting"].get("how") != "oracle"
        for batch in ("1", "2"):
            assert (row["ms"][batch] is not None) == timed
            if timed:
                assert row["ms"][batch]["p50"] <= row["ms"][batch]["p95"]
        assert (row["memory_mib"] is not None) <= timed
    guided = [row for row in result["rows"] if row["guidance"] != 1]
    assert {row["group"] for row in guided} == {"ours", "teacher"}


@pytest.mark.slow
def test_the_full_model_and_the_slices_run_by_both_operators(result):
    by_name = {row["name"]: row for row in result["rows"]}
    torch_rows = [row for row in result["rows"] if row["operators"] == "torch"]
    assert {row["group"] for row in torch_rows} == {"teacher", "thin", "static", "cache"}
    for row in torch_rows:
        twin = by_name[row["name"] + ", by rows"]
        assert row["quality_of"] == twin["name"]
        assert twin["operators"] == "rows"
        for same in ("group", "mse", "kid", "gflops", "nfe", "n"):
            assert row[same] == twin[same], (row["name"], same)
        assert row["ms"]["1"]["n"] == twin["ms"]["1"]["n"] == 2
    for figures in result["summary"].values():
        for tier in TIERS:
            plain = figures["speedup_at_equal_quality_over_torch"][tier]["mse"]
            assert {by_name[name]["operators"] for name in plain["hull"]} == {"torch"}
    for tier in TIERS:
        assert by_name[f"ours {tier} as served"]["setting"]["served"]


@pytest.mark.slow
def test_controls_cost_what_ours_costs_but_the_predictor(result, models, folder):
    def contest_row(row, name):
        with np.load(folder / "rows" / f"{row['key']}.npz") as stored:
            return stored[name]

    by_name = {row["name"]: row for row in result["rows"]}
    for row in result["rows"]:
        if row["group"] == "control":
            ours = by_name[row["setting"]["of"]]
            steps = row["setting"]["num_steps"]
            predicted = steps * predictor_flops(models.arch, models.cost.num_regions) / 1e9
            mine = contest_row(ours, "flops")[: row["n"]].mean() / 1e9
            assert mine - row["gflops"] == pytest.approx(predicted)


@pytest.mark.slow
def test_ours_stays_under_its_ceiling(result, models):
    for row in result["rows"]:
        if row["setting"].get("tier") and row["group"] == "ours":
            limit = ceiling(models, row["setting"]["tier"], 1e9 * result["step_overhead_gflops"])
            share = limit.share(row["setting"]["num_steps"])
            steps = row["setting"]["num_steps"] * models.cost_of("student").full_flops
            assert row["gflops_max"] <= share * steps / 1e9


@pytest.mark.slow
def test_the_reference_is_not_a_row_and_the_teacher_nears_it(result):
    teacher = {
        row["setting"]["num_steps"]: row["mse"]["value"]
        for row in result["rows"]
        if row["group"] == "teacher" and row["setting"]["solver"] == "dpmpp_2m"
        and row["guidance"] == 1
    }  # fmt: skip
    assert teacher[8] < teacher[3]


@pytest.mark.slow
def test_a_second_run_finds_everything(result, models, folder, extract, told):
    told.clear()
    again = run_frontier(TINY, models, folder, extract, told.append)
    assert sampled(told) == []
    assert again["rows"] == result["rows"]
    assert again["summary"] == result["summary"]


@pytest.mark.slow
def test_a_row_that_was_lost_is_measured_alone(result, models, folder, extract, told, tmp_path):
    copied = tmp_path / "copy"
    shutil.copytree(folder, copied)
    lost = next(row for row in result["rows"] if row["name"] == "teacher unipc 4, by rows")
    (copied / "rows" / f"{lost['key']}.json").unlink()
    told.clear()
    again = run_frontier(TINY, models, copied, extract, told.append)
    assert sampled(told) == ["teacher unipc 4, by rows"]
    assert again["rows"] == result["rows"]


@pytest.mark.slow
def test_what_is_at_hand_is_summed_up_and_nothing_else_is_drawn(
    result, models, folder, extract, told, tmp_path
):
    copied = tmp_path / "copy"
    shutil.copytree(folder, copied)
    lost = {"teacher unipc 4", "teacher unipc 4, by rows", "oracle for ours low"}
    for row in result["rows"]:
        if row["name"] in lost:
            (copied / "rows" / f"{row['key']}.json").unlink()
    told.clear()
    part = run_frontier(TINY, models, copied, extract, told.append, at_hand=True)
    assert sampled(told) == []
    assert {row["name"] for row in result["rows"]} - {row["name"] for row in part["rows"]} == lost
    assert part["rows"] == [row for row in result["rows"] if row["name"] not in lost]
    assert part["at_hand"]
    assert part["headline"] == []
    for batch, figures in part["summary"].items():
        gains = result["summary"][batch]["adaptivity_gain"]
        assert set(gains) - set(figures["adaptivity_gain"]) == {"ours low"}
    assert part["calibration"] == result["calibration"]
    for path in (copied / "rows").glob("*.json"):
        if "thresholds" in json.loads(path.read_text()):
            path.unlink()
    again = run_frontier(TINY, models, copied, extract, told.append, at_hand=True)
    assert again["calibration"]["thresholds"] == []
    assert sampled(told) == []


@pytest.mark.slow
def test_rows_in_the_store_are_found_by_their_key(result, models, folder, extract, told):
    same = Contest.prepare(TINY, models, folder, extract, told.append)
    method = kept_tuning.KeptTuning(same).spacings.of(next(contenders(TINY, models)), models)
    assert same.store.get(same.key(method)) is not None


def other(models, name):
    return replace(models, digests={**models.digests, name: "9" * 64})


def test_a_row_depends_on_its_own_model_the_reference_and_the_data(models, tmp_path, extract, told):
    methods = {m.name: m for m in with_twins(list(contenders(TINY, models)))}
    contest, elsewhere = (
        Contest.prepare(TINY, one, tmp_path, extract, told.append)
        for one in (models, replace(models, data_digest="9" * 64))
    )
    contests = {"nothing": contest, "data": elsewhere}
    contests |= {name: replace(contest, models=other(models, name)) for name in models.digests}
    contests["name alone"] = replace(contest, models=replace(models, name="the same pictures"))
    keys = {
        what: {name: one.key(method) for name, method in methods.items()}
        for what, one in contests.items()
    }

    def moved(what):
        return {m.model for n, m in methods.items() if keys[what][n] != keys["nothing"][n]}

    everybody = {"teacher", "student", "thin quarter"}
    assert moved("student") == {"student"}
    assert moved("thin quarter") == {"thin quarter"}
    assert moved("teacher") == moved("data") == everybody  # the teacher's is the reference
    assert moved("name alone") == set()
    for what in ("student", "thin quarter"):
        same = [n for n, m in methods.items() if m.model != what]
        assert all(keys[what][n] == keys["nothing"][n] for n in same)
    assert len({key for by_name in keys.values() for key in by_name.values()}) > len(methods)


class Unseen:
    """In place of draws that nobody may look at."""

    def __getattribute__(self, name):
        raise AssertionError(f"{name} of the report split was read")

    def __len__(self):
        raise AssertionError("pictures of the report split were counted")


def test_tuning_sees_the_validation_split_only(
    models, extract, tmp_path, monkeypatch, made_up_pictures, pictured
):
    seen = []

    def watched(uri, split, image_size):
        seen.append(split)
        return made_up_pictures(uri, split, image_size)

    for where in pictured:
        monkeypatch.setattr(where, "pictures", watched)
    update = {"num_moves": 0, "tune_steps": (3, 5), "teacher_steps": {"dpmpp_2m": (5,)}}
    config = TINY.model_copy(update=update)
    contest = Contest.prepare(config, models, tmp_path, extract, lambda text: None)
    seen.clear()
    # Of the report split: used, they would raise.
    blind, report = replace(contest.yardstick, test=None), contest.drawn
    contest = replace(contest, yardstick=blind, drawn=Unseen(), labels=Unseen())
    tuning = kept_tuning.KeptTuning(contest)
    methods = kept_tiers.KeptTiers(tuning).methods()
    assert set(tuning.saving()) == {5}
    chosen = set(tuning.spacings.chosen)
    assert chosen == {("teacher", "dpmpp_2m", 5), ("thin quarter", "dpmpp_2m", 8)}
    assert set(seen) == {TUNE_SPLIT}
    assert not set(tuning.drawn.seeds) & set(report.seeds)
    assert {m.group for m in methods} == {"ours", "static"}
    assert len({TUNE_SPLIT, REPORT_SPLIT, TRAIN_SPLIT}) == 3


@pytest.mark.parametrize("which", ["mse", "kid"])
@pytest.mark.slow
def test_the_plot_is_a_picture_of_both_batches(result, tmp_path, which):
    from PIL import Image

    with Image.open(draw_pareto(result, tmp_path / "p.png", which)) as drawn:
        assert drawn.size[0] > 1.8 * drawn.size[1]
        assert len(drawn.convert("RGB").getcolors(maxcolors=2**24)) > 50


def test_a_peak_of_memory_holds_for_its_machine_and_kernels(tmp_path, monkeypatch, models):
    """Rows travel with the folder; what was measured elsewhere is measured again."""
    contest = SimpleNamespace(
        config=TINY, models=models, drawn=Draws([0, 1], [1, 2]), store=RowStore(tmp_path)
    )
    method, row, peaks = dense("teacher", "teacher", "euler", 2), Row("a", {}, {}), iter((1, 2, 3))
    monkeypatch.setattr(module, "peak_bytes", lambda run: next(peaks) * 2**20)
    assert [module.memory_of(contest, method, row) for _ in range(2)] == [1.0, 1.0]
    monkeypatch.setattr(conditions, "provider", lambda: "plain PyTorch")
    assert module.memory_of(contest, method, row) == 2.0
    monkeypatch.setattr(conditions, "machine", lambda: "another")
    assert module.memory_of(contest, method, row) == 3.0
