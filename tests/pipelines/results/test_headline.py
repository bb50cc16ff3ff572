"""The headline and the article's table say who won, and what was compared."""

import copy

from nitrogen.pipelines.results.headline import article_note, article_table, headline, speedup_table
from nitrogen.pipelines.results.pairing import best_pair
from nitrogen.pipelines.results.verdicts import verdicts


def verdict(file, start):
    return next(v for v in verdicts(file) if v.figure.startswith(start))


def test_the_headline_says_who_won(file):
    text = headline(file, "1")
    one = file.content["summary"]["1"]["speedup_at_equal_quality"]["low"]["mse"]
    assert "wins at every budget at equal same-seed error" in text
    assert f"{one['value']:.2f} ({one['low']:.2f} to {one['high']:.2f})" in text
    assert "n = 300 seeds" in text
    tiers = file.content["summary"]["1"]["speedup_at_equal_quality"]
    tiers["low"]["mse"] |= {"value": 0.5, "low": 0.4, "high": 0.6}
    tiers["high"]["mse"] |= {"value": 1.0, "low": 0.9, "high": 1.1}
    mixed = headline(file, "1")
    assert "wins at the middle budget and" not in mixed
    assert "wins at the middle budget, loses at the low budget and is not shown to win" in mixed
    for errors in tiers.values():
        errors["mse"] |= {"value": 0.5, "low": 0.4, "high": 0.6}
    assert "loses at every budget at equal same-seed error" in headline(file, "1")


def test_where_all_others_are_better_there_is_no_equal_quality(file):
    """Ours is fast there, and what it is compared with is the fastest: no win, whatever it says."""
    tiers = file.content["summary"]["1"]["speedup_at_equal_quality"]
    tiers["low"]["kid"] |= {"value": 3.0, "low": 2.9, "high": 3.1, "slower_than_all": True}
    found = verdict(file, "speedup at equal KID, low budget, batch 1")
    assert found.reached is False
    assert "worse than even the fastest row" in found.outcome
    text = headline(file, "1")
    assert "is worse than even the fastest rival at the low budget" in text
    assert "at equal KID: none, " in text
    tiers["low"]["kid"]["slower_than_all"] = False
    assert verdict(file, "speedup at equal KID, low budget, batch 1").reached


def test_the_pair_is_the_fastest_within_the_bound_and_its_teacher_the_faster_one(file):
    pair = best_pair(file.content, "1")
    assert pair.within
    assert pair.enough
    twin = copy.deepcopy(pair.teacher)
    twin["name"] += ", by rows"
    twin["ms"]["1"]["p50"] /= 2
    file.content["rows"].append(twin)
    assert best_pair(file.content, "1").teacher is twin
    assert f"{twin['ms']['1']['p50']:.1f} ms" in article_table([file], "1")


def test_the_headline_names_what_ours_was_compared_with(file):
    assert "with fewer steps, thin models and caches, the adaptive" in headline(file, "1")
    file.content["rows"][:] = [row for row in file.content["rows"] if row["group"] != "thin"]
    assert "with fewer steps and caches, the adaptive" in headline(file, "1")


def test_the_table_of_speedups_is_bold_where_ours_wins(file):
    tiers = file.content["summary"]["1"]["speedup_at_equal_quality"]
    tiers["low"]["mse"] |= {"value": 1.5, "low": 1.4, "high": 1.6}
    tiers["middle"]["mse"] |= {"value": 1.5, "low": 0.9, "high": 1.6}
    tiers["high"]["mse"] |= {"value": 0.5, "low": 0.4, "high": 0.6}
    tiers["low"]["kid"]["slower_than_all"] = True
    header, _, first, second = speedup_table([file]).strip().splitlines()
    cells = [cell.strip() for cell in first.strip("|").split("|")]
    assert "equal KID, high" in header
    assert cells[:6] == [
        "emoji64", "1", "300", "**1.50 (1.40 to 1.60)**", "1.50 (0.900 to 1.60)",
        "0.500 (0.400 to 0.600)",
    ]  # fmt: skip
    assert cells[6] == "none"
    assert second.startswith("| emoji64 | 8 |")


def test_what_decides_nothing_is_not_bold(file):
    assert "**" in speedup_table([file])
    file.content["at_hand"] = True
    told = speedup_table([file])
    assert "**" not in told
    assert "only rows that were at hand" in told


def test_a_teacher_whose_distance_rises_again_is_not_said_to_ask_little(file):
    assert "few steps ask little" in article_note([file], "1")
    teachers = [row for row in file.content["headline"] if row["group"] == "teacher"]
    last = max(teachers, key=lambda row: row["setting"]["num_steps"])
    last["fd_lite0"]["value"] = 1e6
    note = article_note([file], "1")
    assert "few steps ask little" not in note
    assert ", least at " in note
