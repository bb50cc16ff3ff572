"""Pages, verdicts, headline and README's block say what the files hold, and nothing else."""

import copy
import json
import shlex

import pytest
from typer.testing import CliRunner

from nitrogen.pipelines.bench.frontier_config import FrontierConfig
from nitrogen.pipelines.bench.scaling import MAX_GROWTH
from nitrogen.pipelines.bench.settings import relay_method
from nitrogen.pipelines.cli import app
from nitrogen.pipelines.results import write
from nitrogen.pipelines.results.ablation_page import ablation_page
from nitrogen.pipelines.results.article import article_note, article_table
from nitrogen.pipelines.results.dataset_page import dataset_page
from nitrogen.pipelines.results.files import BenchFile, read_files
from nitrogen.pipelines.results.headline import headline
from nitrogen.pipelines.results.limits_pages import attack_page, scaling_page
from nitrogen.pipelines.results.pairing import best_pair
from nitrogen.pipelines.results.readme_block import BEGIN, END, with_block
from nitrogen.pipelines.results.targets import MIN_ROUNDS, PREDICTOR, SPEEDUPS, Target, outcome
from nitrogen.pipelines.results.verdicts import tally, verdicts
from nitrogen.platform.errors import ConfigError


def verdict(file, start):
    return next(v for v in verdicts(file) if v.figure.startswith(start))


# ------------------------------------------------------------------------------------ verdicts


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        ({"value": 1.6, "low": 1.5, "high": 1.7, "n": 300}, "reached"),
        ({"value": 1.6, "low": 1.49, "high": 1.7, "n": 300}, "missed: the interval reaches below"),
        ({"value": 1.4, "low": 1.3, "high": 1.6, "n": 300}, "missed"),
        ({"value": 2.6, "low": 2.5, "high": 2.7, "n": 300}, "aim reached"),
        (
            {"value": 9.0, "low": 8.0, "high": 9.5, "n": 255},
            "decides nothing: n = 255 is too small",
        ),
        ({"value": 9, "low": 8, "high": 9.5, "n": 256}, "aim reached"),
        ({"value": None, "reason": "no room", "n": 300}, "not defined: no room"),
        (None, "not measured"),
    ],
)
def test_a_bound_is_reached_by_the_whole_interval(figure, words):
    assert outcome(Target(1.5, aim=2.5), figure, quick=False) == words


def test_an_upper_bound_and_a_bound_that_must_be_exceeded():
    share = {"value": 0.02, "low": 0.01, "high": 0.031, "n": 300}
    assert outcome(Target(most=0.03), share, False) == "missed: the interval reaches above"
    at_zero = {"value": 0.1, "low": 0.0, "high": 0.2, "n": 300}
    assert outcome(Target(0.0, above=True), at_zero, False) == "missed: the interval reaches below"
    assert outcome(Target(0.0), at_zero, False) == "reached"


def test_a_time_is_decided_by_rounds_which_every_preset_but_quick_has():
    share = {"value": 0.01, "low": 0.01, "high": 0.01}
    assert outcome(PREDICTOR, share | {"n": 19}, False) == "decides nothing: n = 19 is too small"
    for config in (FrontierConfig.day(), FrontierConfig()):
        assert outcome(PREDICTOR, share | {"n": config.pair_rounds}, False) == "aim reached"
        assert config.rounds >= MIN_ROUNDS
        assert outcome(SPEEDUPS["low"], share | {"n": config.num_controls}, False) == "missed"


def test_every_target_of_a_file_is_judged(file):
    found = verdicts(file)
    assert len(found) == 8 + 2 * (6 + 6 + 3) + 1 + 6 + 3 + 4
    assert not [v for v in found if v.outcome in ("", "not measured")]
    states = [v.reached for v in found]
    assert tally(found).startswith(f"{states.count(True)} of {len(found)} targets are reached")


@pytest.mark.parametrize("command", ["x --quick", "x --preset quick"])
def test_a_quick_run_decides_nothing(file, command):
    quick = BenchFile(file.path, file.kind, file.content | {"command": command}, file.name)
    assert {v.reached for v in verdicts(quick)} == {None}
    assert "nothing is decided" in headline(quick, "1")
    assert "decides nothing" in dataset_page(quick, {}, None)


def test_a_distance_that_is_too_far_misses_the_latency_target(file):
    assert verdict(file, "latency saved").reached
    for row in file.content["rows"] + file.content["headline"]:
        if row["group"] == "ours":
            row["fd_lite0"]["value"] *= 1.5
    missed = verdict(file, "latency saved")
    assert missed.outcome.startswith("missed: its distance is 1.")
    assert "no row stays within" in article_note([file], "1")


def test_a_distance_of_few_pictures_is_no_headline(file):
    file.content["headline"] = []
    assert verdict(file, "latency saved").outcome.startswith("decides nothing: fd_lite0 of fewer")
    assert "no distance is a headline" in article_note([file], "1")
    for row in file.content["rows"]:
        row["fd_lite0"] = None
    assert verdict(file, "latency saved").outcome.startswith("not defined")
    assert "too few pictures" in article_table([file], "1")


def test_a_distance_of_few_pictures_misses_nothing_however_far(file):
    for row in file.content["headline"]:
        row["fd_lite0"]["n"] = 1280
        if row["group"] == "ours":
            row["fd_lite0"]["value"] *= 1.5
    far = verdict(file, "latency saved")
    assert far.outcome.startswith("decides nothing: fd_lite0 of fewer")
    assert far.reached is None
    with_ratios(file, 1.5, 1.4, 1.6)
    assert verdict(file, "latency saved").outcome == far.outcome
    for figures in file.content["summary"]["1"]["latency"]["rows"].values():
        figures["saved"] |= {"value": 0.1, "low": 0.09, "high": 0.11}
    assert verdict(file, "latency saved").outcome == "missed", "it saves too little by itself"


def test_a_time_of_few_rounds_is_not_missed_for_its_distance(file):
    with_ratios(file, 1.5, 1.4, 1.6)
    assert verdict(file, "latency saved").outcome.startswith("missed: its distance is 1.500")
    for figures in file.content["summary"]["1"]["latency"]["rows"].values():
        figures["saved"]["n"] = MIN_ROUNDS - 1
    assert verdict(file, "latency saved").outcome == "decides nothing: n = 19 is too small"


def with_ratios(file, value, low, high):
    """As newer files are: the rows of the tiers over the headline's seeds, paired."""
    for row in file.content["headline"]:
        if row["group"] == "ours":
            ratio = {"value": value, "low": low, "high": high, "n": 5000}
            row["fd_over_teacher"] = ratio


def test_the_distance_must_be_near_by_its_whole_interval(file):
    assert "without an interval" in verdict(file, "latency saved").measured
    with_ratios(file, 1.01, 0.99, 1.04)
    assert verdict(file, "latency saved").reached
    assert "at 1.01 (0.990 to 1.04) (n = 5,000)" in verdict(file, "latency saved").measured
    with_ratios(file, 1.01, 0.96, 1.06)
    assert verdict(file, "latency saved").outcome.startswith("missed: its distance may be 1.060")
    assert not best_pair(file.content, "1").within


def test_latency_is_judged_at_each_number_of_steps_that_was_searched(file):
    next(r for r in file.content["rows"] if r["name"] == "ours low")["setting"]["saving"] = True
    file.content["saving"] = {"4": None, "6": "ours low"}
    start = "latency saved at equal steps"
    found = {v.figure: v for v in verdicts(file) if v.figure.startswith(start)}
    assert len(found) == 2 * 2
    none = found["latency saved at equal steps, 4 steps, batch 8"]
    assert none.reached is False
    one = next(v for name, v in found.items() if name.endswith("6 steps, batch 8"))
    assert one.reached is not None
    assert "budget 0.5" in one.measured
    assert best_pair(file.content, "8").ours["name"] == "ours low"
    note = article_note([file], "1")
    assert "At 4 steps no budget was as near as the teacher on validation." in note
    assert "few steps ask little" in note


def test_latency_is_judged_for_every_tier(file):
    start = "latency saved at equal steps"
    found = [v for v in verdicts(file) if v.figure.startswith(start)]
    assert len(found) == 6
    far = next(r for r in file.content["headline"] if r["name"] == "headline: ours high")
    far["fd_lite0"]["value"] *= 1.5
    outcomes = {
        tier: v.outcome
        for tier in ("low", "middle", "high")
        for v in verdicts(file)
        if v.figure.startswith(start) and f"{tier} budget, batch 1" in v.figure
    }
    assert outcomes["high"].startswith("missed: its distance is 1.")
    assert "distance" not in outcomes["low"] + outcomes["middle"]
    del file.content["summary"]["1"]["latency"]["rows"]["ours low"]
    assert verdict(file, start).outcome == "not measured"


def test_a_pair_of_few_pictures_does_not_stand_in_for_one_of_many(file):
    for row in file.content["headline"]:
        if row["group"] == "ours":
            row["fd_lite0"]["value"] *= 1.5
    pair = best_pair(file.content, "1")
    assert pair.enough
    assert not pair.within


@pytest.mark.parametrize("where", ["figure", "file"])
def test_a_speedup_of_few_rounds_is_not_decided(file, where):
    start = "speedup at equal MSE, low"
    for tier in file.content["summary"]["1"]["speedup_at_equal_quality"].values():
        for one in tier.values():
            one |= {"value": 2.0, "low": 1.9, "high": 2.1}
    assert verdict(file, start).reached
    for tier in file.content["summary"]["1"]["speedup_at_equal_quality"].values():
        for one in tier.values():
            one["rounds"] = 12
            if where == "file":  # an older one, whose figures do not say
                del one["rounds"]
    if where == "file":
        file.content["config"]["rounds"] = 12
    assert verdict(file, start).outcome == "decides nothing: 12 rounds of timing are too few"
    assert "nothing is decided: 12 rounds" in headline(file, "1")


def test_a_speedup_says_what_it_was_not_compared_with(file):
    one = file.content["summary"]["1"]["speedup_at_equal_quality"]["low"]["mse"]
    one |= {"value": 2.0, "low": 1.9, "high": 2.1}
    assert verdict(file, "speedup at equal MSE, low").outcome == "reached"
    file.content["rows"][:] = [row for row in file.content["rows"] if row["group"] != "thin"]
    found = verdict(file, "speedup at equal MSE, low")
    assert found.outcome == "reached, without thin models"
    assert found.reached
    assert "without" not in verdict(file, "speedup over static at equal MSE, low").outcome


def test_rows_at_hand_decide_nothing(file):
    file.content["at_hand"] = True
    assert {v.reached for v in verdicts(file)} == {None}
    assert "nothing is decided: only rows that were at hand" in headline(file, "1")
    assert "Only rows that were at hand" in dataset_page(file, {}, None)


def test_exits_name_whose_forwards_they_save(file):
    assert verdict(file, "forward passes saved by exit alone, of the teacher").reached
    assert "Forward passes of the teacher saved by exit alone" in dataset_page(file, {}, None)
    del file.content["forward_passes_saved"]["denoiser"]
    assert "Forward passes saved by exit alone" in dataset_page(file, {}, None)


@pytest.mark.parametrize(
    ("unseen", "words"),
    [
        ({"value": 0.06, "low": 0.05, "high": 0.07, "n": 50}, "| 50 | - | holds |"),
        ({"value": 0.09, "low": 0.07, "high": 0.11, "n": 50}, "| 50 | - | not decided |"),
        ({"value": 0.2, "low": 0.15, "high": 0.25, "n": 50}, "| 50 | - | does not hold |"),
        ({"value": None, "low": None, "high": None, "n": 0}, "| 0 | - | not decided |"),
        ({"value": 0.0, "low": 0.0, "high": 0.0, "n": 29}, "| 29 | - | holds |"),
        ({"value": 0.0, "low": 0.0, "high": 0.0, "n": 28}, "| 28 | - | not decided |"),
    ],
)
def test_a_promise_holds_by_its_whole_interval(file, unseen, words):
    one = file.content["calibration"]["thresholds"][0]
    one |= {"unseen": unseen, "holds": True}  # as older files say
    page = dataset_page(file, {}, None)
    assert words in page
    assert "pictures with an exit" in page
    one["exits"] = 4321
    assert words.replace("| - |", "| 4,321 |") in dataset_page(file, {}, None)


def test_the_exact_bound_stands_beside_the_interval_and_decides_too(file):
    one = file.content["calibration"]["thresholds"][0]
    assert "exact bound" not in dataset_page(file, {}, None)
    one["unseen"] = {"value": 0.0, "low": 0.0, "high": 0.0, "bound": 0.125, "n": 50}
    page = dataset_page(file, {}, None)
    assert "| 0 % (0 to 0), at most 12.5 % | 50 | - | not decided |" in page
    assert "At most: an exact bound" in page
    one["unseen"]["bound"] = 0.0582
    assert ", at most 5.82 % | 50 | - | holds |" in dataset_page(file, {}, None)
    one["alpha"] = 0.001
    assert "| 50 | - | not decided |" in dataset_page(file, {}, None), "66 are needed"


def test_exits_that_cost_quality_do_not_count(file):
    assert verdict(file, "forward passes").reached
    file.content["forward_passes_saved"]["holds"] = False
    assert verdict(file, "forward passes").outcome.startswith("missed: PSNR")


# --------------------------------------------------------------------------------------- pages


def test_the_page_holds_every_row_and_every_figure_also_new_ones(file):
    summary = file.content["summary"]["1"]
    summary["speedup_over_torch"] = summary["speedup_over_static"]
    file.content["rows"].append(file.content["rows"][0] | {"group": "fresh", "name": "a new row"})
    page = dataset_page(file, {}, None)
    assert all(f"| {row['name']} |" in page for row in file.content["rows"])
    assert "### speedup over torch" in page
    assert "a new row" in page
    assert file.content["command"] in page


def test_the_saving_over_plain_pytorch_stands_on_the_page(file):
    one = file.content["summary"]["1"]["latency"]["rows"]["ours low"]
    one["saved_over_torch"] = {"value": 0.6543, "low": 0.61, "high": 0.68, "n": 40}
    assert "| 65.4 % (61.0 to 68.0) |" in dataset_page(file, {}, None)


def test_the_page_says_which_rows_plan_in_python(file):
    page = dataset_page(file, {}, None)
    assert "plan in Python: their ms are upper bounds" in page
    for figures in file.content["summary"].values():
        for tier in figures["speedup_at_equal_quality"].values():
            for one in tier.values():
                one["hull"] = ["teacher dpmpp_2m 4"]
    assert "corners of a tier's hull: none." in dataset_page(file, {}, None)
    cached = next(r["name"] for r in file.content["rows"] if r["group"] == "cache")
    one = file.content["summary"]["1"]["speedup_at_equal_quality"]["low"]["mse"]
    one["hull"] = [*one["hull"], cached]
    assert f"corners of a tier's hull: {cached}." in dataset_page(file, {}, None)


def test_rows_of_few_seeds_say_so(file):
    file.content["rows"][0]["n"] = 16
    assert "| 16, too small |" in dataset_page(file, {}, None)


def test_pages_of_attack_and_scaling(written, made):
    paths = [written("a.json", made.attack()), written("s.json", made.scaling())]
    attack, scaling = read_files(paths)
    assert {v.reached for v in verdicts(attack) + verdicts(scaling)} == {True}
    assert "| budget | gradient |" in attack_page(attack)
    assert "| 1,024 | 2 |" in scaling_page(scaling)
    (above,) = read_files([written("b.json", made.attack(above=True))])
    assert {v.reached for v in verdicts(above)} == {False}
    newer = made.scaling() | {"huge": {"size": 4096, "skipped": "too little memory is free"}}
    (skipped,) = read_files([written("t.json", newer)])
    assert verdicts(skipped)[-1].outcome == "not measured: too little memory is free"
    assert "too little memory is free" in scaling_page(skipped)
    (few,) = read_files([written("c.json", made.attack(num_seeds=24))])
    assert verdicts(few)[0].outcome.startswith("decides nothing: fewer than 10,000")


@pytest.mark.parametrize(
    ("n", "high", "words"),
    [
        (20, 1.18, "reached"), (20, 1.21, "missed: the interval reaches above"),
        (19, 1.18, "decides nothing: n = 19 is too small"),
    ],
)  # fmt: skip
def test_the_time_per_pixel_is_decided_by_repeats(written, made, n, high, words):
    content = made.scaling()
    grown = {"value": 1.15, "low": 1.12, "high": high, "n": n}
    content["per_pixel"]["intervals"] = {"adaptive": grown}
    (file,) = read_files([written("s.json", content)])
    assert verdict(file, "time per pixel").outcome == words
    assert verdict(file, "time per pixel").target == f"at most {MAX_GROWTH:g}"


def test_the_page_of_an_ablation_says_what_each_part_brought(written, made):
    (file,) = read_files([written("a.json", made.ablation())])
    page = ablation_page(file)
    assert "| no penalty | 0.0605 (0.0595 to 0.0615) | 0.000500 (-0.00150 to 0.00250) a" in page
    assert page.count("worse without it") == 1
    assert page.count("better without it") == 1
    assert page.count("nothing is shown") == 1
    assert "not measured: below the cheapest plan" in page
    assert "| no distillation | distilled: false |" in page
    assert verdicts(file) == []
    assert tally([]) == "no target is set"
    (few,) = read_files([written("f.json", made.ablation(n=32))])
    assert "worse without it" not in ablation_page(few)


def test_a_full_width_that_is_worse_than_its_teacher_is_told(file):
    start = "MSE of the student at full width over the teacher's"
    steps = [v.figure for v in verdicts(file) if v.figure.startswith(start)]
    assert steps == [f"{start}, {n} steps" for n in (6, 8, 10, 12)]
    full = file.content["summary"]["1"]["full_width"]
    full["8"]["mse"] |= {"value": 1.0, "low": 0.98, "high": 1.05}
    assert verdict(file, f"{start}, 8").outcome == "reached"
    full["8"]["mse"] |= {"high": 1.06}
    assert verdict(file, f"{start}, 8").reached is False
    del full["8"]
    assert verdict(file, f"{start}, 8").outcome == "not measured"
    full["5"] = full["6"]
    assert verdict(file, f"{start}, 5").reached is not None
    late = relay_method([4] * 5)
    file.content["rows"].append(file.content["rows"][0] | late.described())
    start = "MSE of the student at full width and its relay over the teacher's"
    assert verdict(file, f"{start}, 5").reached is not None


def test_the_student_at_full_width_without_a_relay_stands_beside(file):
    summary = file.content["summary"]["1"]
    summary["full_width_alone"] = copy.deepcopy(summary["full_width"])
    summary["full_width_alone"]["8"]["kid"]["value"] = 7.77
    page = dataset_page(file, {}, None)
    assert "KID without its relay (95 %)" in page
    assert "7.77" not in page, "at 8 steps there is no relay"
    late = relay_method([4] * 8)
    file.content["rows"].append(file.content["rows"][0] | late.described())
    assert "7.77" in dataset_page(file, {}, None)
    del summary["full_width_alone"]
    assert "without its relay" not in dataset_page(file, {}, None)


def test_folders_of_one_machine_do_not_reach_the_pages(written, result):
    line = "nitrogen bench frontier --out '/home/me/my runs/f.json' --run runs/x"
    (found,) = read_files([written("f.json", result | {"command": line})])
    assert found.command == "nitrogen bench frontier --out f.json --run runs/x"
    assert found.content["rows"] == result["rows"]


@pytest.mark.parametrize("content", [[], {"rows": []}, "text"])
def test_other_files_are_refused(written, content):
    with pytest.raises(ConfigError, match="written by bench frontier"):
        read_files([written("x.json", content)])


def test_files_that_are_missing_or_damaged_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="can be read"):
        read_files([tmp_path / "none.json"])
    (tmp_path / "half.json").write_text("{")
    with pytest.raises(ConfigError, match="must be JSON"):
        read_files([tmp_path / "half.json"])


# -------------------------------------------------------------------------------------- README


def test_the_block_replaces_what_stood_between_the_markers(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert with_block(readme, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"


@pytest.mark.slow
def test_what_is_written_can_be_made_again_from_it(written, result, tmp_path, monkeypatch):
    out, readme = tmp_path / "docs" / "results", tmp_path / "README.md"
    readme.write_text(f"{BEGIN}\n{END}\n")
    path = written("emoji.json", result)
    arguments = ["bench", "results", str(path), "--out", str(out), "--readme", str(readme)]
    done = CliRunner().invoke(app, [*arguments, "--no-widths"])
    assert done.exit_code == 0, done.output
    listed = {line for line in done.output.splitlines() if line}
    assert listed == {str(p) for p in (*out.iterdir(), readme)}
    text = readme.read_text()
    assert headline(read_files([path])[0], "1") in text
    assert "docs/results/emoji64-mse-dark.png" in text
    assert "FID 3.7" in text
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    monkeypatch.setattr(write, "draw_pareto", lambda content, path, *_: path)
    write.write_results([out / "emoji64.json"], out, readme, None)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert json.loads((out / "emoji64.json").read_text()) == result


def test_a_quick_file_does_not_reach_a_readme(written, result, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"{BEGIN}\n{END}\n")
    path = written("q.json", result | {"command": shlex.join(["nitrogen", "bench", "--quick"])})
    with pytest.raises(ConfigError, match="quick run"):
        write.write_results([path], tmp_path / "out", readme, None)
    assert not (tmp_path / "out").exists()


def test_a_readme_without_markers_is_refused_before_anything_is_written(written, result, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("nothing")
    with pytest.raises(ConfigError, match="must hold the lines"):
        write.write_results([written("x.json", result)], tmp_path / "out", readme, None)
    assert not (tmp_path / "out").exists()


def test_ranks_of_gains_are_told_or_why_there_are_none(file):
    assert "Rank correlation of predicted and true gain" not in dataset_page(file, {}, None)
    one = {"value": 0.41, "low": 0.39, "high": 0.43, "n": 256}
    none = {"value": None, "reason": "all regions gain the same, predicted or truly", "n": 0}
    gains = {"full width over holding": one, "full width over the narrowest": none}
    file.content["gain_ranking"] = {"num_steps": 4, "budget": 0.5, "n": 256, "gains": gains}
    page = dataset_page(file, {}, None)
    assert "| full width over holding | 0.410 (0.390 to 0.430) | 256 |" in page
    assert "| full width over the narrowest | all regions gain the same" in page
    file.content["gain_ranking"] = {"gains": {}, "reason": "not measured yet", "n": 0}
    assert "Ranks of predicted gains: not measured yet." in dataset_page(file, {}, None)
