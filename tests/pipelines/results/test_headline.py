"""The headline and the table of speedups say who won, and what was compared."""

from nitrogen.pipelines.results.headline import headline, over_static, speedup_table
from nitrogen.pipelines.results.pairing import full_width_tiers
from nitrogen.pipelines.results.verdicts import verdicts


def verdict(file, start):
    return next(v for v in verdicts(file) if v.figure.startswith(start))


def test_the_headline_says_who_won(file):
    text = headline(file, "1")
    one = file.content["summary"]["1"]["speedup_at_equal_quality"]["low"]["mse"]
    assert "wins at every budget at equal same-seed error" in text
    assert f"{one['value']:.2f} ({one['low']:.2f} to {one['high']:.2f})" in speedup_table(
        [file], "1"
    )
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
    [kid] = [row for row in lines_of(file) if "| KID | all others |" in row]
    assert kid.split("|")[4].strip() == "none"
    tiers["low"]["kid"]["slower_than_all"] = False
    assert verdict(file, "speedup at equal KID, low budget, batch 1").reached


def test_the_headline_names_what_ours_was_compared_with(file):
    assert "with fewer steps, thin models and caches wins" in headline(file, "1")
    file.content["rows"][:] = [row for row in file.content["rows"] if row["group"] != "thin"]
    assert "with fewer steps and caches wins" in headline(file, "1")


def lines_of(file):
    return speedup_table([file], "1").strip().splitlines()[2:]


def test_the_table_of_speedups_is_bold_where_ours_wins(file):
    tiers = file.content["summary"]["1"]["speedup_at_equal_quality"]
    tiers["low"]["mse"] |= {"value": 1.5, "low": 1.4, "high": 1.6}
    tiers["middle"]["mse"] |= {"value": 1.5, "low": 0.9, "high": 1.6}
    tiers["high"]["mse"] |= {"value": 0.5, "low": 0.4, "high": 0.6}
    lines = lines_of(file)
    assert len(lines) == 4
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == [
        "emoji64, n = 300", "same-seed error", "all others", "**1.50 (1.40 to 1.60)**",
        "1.50 (0.900 to 1.60)", "0.500 (0.400 to 0.600)",
    ]  # fmt: skip
    assert speedup_table([file], "64").strip().count("\n") == 1, "no file has that batch size"


def test_static_schedules_stand_beside_all_others(file):
    static = file.content["summary"]["1"]["speedup_over_static"]["low"]["mse"]
    static |= {"value": 0.77, "low": 0.71, "high": 0.79}
    assert "0.770 (0.710 to 0.790)" in lines_of(file)[1]
    tiers = file.content["summary"]["1"]["speedup_over_static"]
    for errors in tiers.values():
        for one in errors.values():
            one |= {"value": 0.77, "low": 0.71, "high": 0.79}
    assert "without a choice of regions, loses at every budget at equal" in headline(file, "1")
    file.content["summary"]["8"]["speedup_over_static"] = {
        "low": {"mse": {"value": 1.0, "low": 0.9, "high": 1.1}}
    }
    assert "wins 0 of 7 comparisons, loses 6 and leaves 1 open" in over_static([file])
    tiers["low"]["kid"] |= {"value": 1.2, "low": 1.1, "high": 1.3}
    assert "wins 1 of 7 comparisons, loses 5" in over_static([file])


def test_a_budget_of_nearly_everything_is_not_called_adaptive(file):
    assert full_width_tiers(file.content, "1") == []
    assert "†" not in "".join(lines_of(file))
    row = next(r for r in file.content["rows"] if r["name"] == "ours middle")
    steps = row["setting"]["num_steps"]
    row["gflops"] = 0.96 * next(
        r["gflops"] for r in file.content["rows"] if r["name"] == f"teacher dpmpp_2m {steps}"
    )
    assert full_width_tiers(file.content, "1") == ["middle"]
    assert all(line.split("|")[5].strip().endswith("†") for line in lines_of(file))
    assert "buys nearly all of the compute at the middle budget" in headline(file, "1")
    speedup = verdict(file, "speedup at equal MSE, middle budget, batch 1")
    assert speedup.outcome.endswith(", at full width")
    assert "full width" not in verdict(file, "speedup at equal MSE, low budget, batch 1").outcome
    gain = verdict(file, "adaptivity gain over random positions, ours middle")
    assert gain.reached is None
    assert "nothing is chosen" in gain.outcome
    assert verdict(file, "adaptivity gain over random positions, ours low").reached is not None


def test_what_decides_nothing_is_not_bold(file):
    assert "**" in speedup_table([file], "1")
    file.content["at_hand"] = True
    told = speedup_table([file], "1")
    assert "**" not in told
    assert "only rows that were at hand" in told
