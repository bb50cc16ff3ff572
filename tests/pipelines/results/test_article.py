"""The article's table: which rows are compared, and what speaks against them."""

import copy

from nitrogen.pipelines.results.article import article_note, article_table
from nitrogen.pipelines.results.files import BenchFile
from nitrogen.pipelines.results.pairing import best_pair


def test_the_pair_is_that_of_the_best_teacher_and_its_teacher_the_faster_row(file):
    pair = best_pair(file.content, "1")
    assert pair.within
    assert pair.enough
    teachers = [row for row in file.content["headline"] if row["group"] == "teacher"]
    nearest = min(teachers, key=lambda row: row["fd_lite0"]["value"])
    assert pair.ours["setting"]["num_steps"] == nearest["setting"]["num_steps"]
    twin = copy.deepcopy(pair.teacher)
    twin["name"] += ", by rows"
    twin["ms"]["1"]["p50"] /= 2
    file.content["rows"].append(twin)
    assert best_pair(file.content, "1").teacher is twin
    assert f"{twin['ms']['1']['p50']:.1f} ms" in article_table([file], "1")


def test_a_teacher_whose_distance_rises_again_is_not_said_to_ask_little(file):
    assert "few steps ask little" in article_note([file], "1")
    teachers = [row for row in file.content["headline"] if row["group"] == "teacher"]
    last = max(teachers, key=lambda row: row["setting"]["num_steps"])
    last["fd_lite0"]["value"] = 1e6
    note = article_note([file], "1")
    assert "few steps ask little" not in note
    assert ", least at " in note


def test_what_is_saved_is_told_at_every_number_of_steps(file):
    for tier in ("low", "middle"):
        row = next(r for r in file.content["rows"] if r["name"] == f"ours {tier}")
        row["setting"]["saving"] = True
    saved = file.content["summary"]["1"]["latency"]["rows"]
    saved["ours low"]["saved"]["value"], saved["ours middle"]["saved"]["value"] = 0.461, 0.23
    assert "At 6 and 8 steps 46 % and 23 % are saved." in article_note([file], "1")


def test_both_networks_of_a_relay_are_counted(file):
    assert "| 2.05 M |" in article_table([file], "1")
    file.content["rows"][-1]["setting"]["relay"] = True
    assert "| 4.05 M (student and teacher) |" in article_table([file], "1")
    del file.content["models"]["teacher"]
    assert "student and teacher" not in article_table([file], "1")


def test_a_static_schedule_that_is_as_near_in_less_time_is_named(file):
    pair = best_pair(file.content, "1")
    steps = pair.ours["setting"]["num_steps"]
    static = copy.deepcopy(next(r for r in file.content["rows"] if r["group"] == "static"))
    static["name"], static["setting"]["num_steps"] = "narrow, by rows", steps
    for error in ("mse", "kid"):
        static[error]["value"] = pair.ours[error]["value"]
    static["ms"]["1"]["p50"] = pair.ours["ms"]["1"]["p50"] / 2
    file.content["rows"].append(static)
    assert "A static schedule, `narrow`, is as near by both errors" in article_note([file], "1")
    static["kid"]["value"] *= 1.01
    assert "`narrow`" not in article_note([file], "1")


def test_a_distance_below_the_teachers_is_warned_of_here_too(file):
    assert "suspicious" not in article_note([file], "1")
    for row in file.content["headline"]:
        if row["group"] == "ours":
            row["fd_lite0"] |= {"value": 100.0, "low": 90.0, "high": 110.0}
    assert "suspicious" in article_note([file], "1")


def test_a_file_without_that_batch_size_is_passed_over(file):
    other = BenchFile(file.path, file.kind, copy.deepcopy(dict(file.content)), "other")
    other.content["dataset"], other.content["summary"] = (
        "other",
        {"8": file.content["summary"]["8"]},
    )
    assert article_table([file, other], "1") == article_table([file], "1")
    assert "other" not in article_note([file, other], "1")
