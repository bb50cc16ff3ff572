"""The sizes of a frontier: presets, and what --set makes of them."""

import pytest

from nitrogen.pipelines.bench.frontier_config import FrontierConfig, is_quick
from nitrogen.platform.errors import ConfigError


def test_set_replaces_what_it_names_and_nothing_else():
    day = FrontierConfig.preset("day")
    changed = day.changed(["num_tune=48", "saving_steps=[4, 6]"], num_images=None, rounds=7)
    assert (changed.num_tune, changed.saving_steps, changed.rounds) == (48, (4, 6), 7)
    names = ("num_tune", "saving_steps", "rounds", "pair_rounds")
    assert day.model_dump(exclude=set(names)) == changed.model_dump(exclude=set(names))


def test_below_a_key_only_what_is_named_is_replaced():
    day = FrontierConfig.preset("day")
    changed = day.changed(["teacher_steps.euler=[8]"])
    assert changed.teacher_steps == {**day.teacher_steps, "euler": (8,)}


def test_a_preset_alone_stays_as_it_is():
    assert FrontierConfig.quick().changed() == FrontierConfig.quick()


@pytest.mark.parametrize(
    ("overrides", "options", "pairs"),
    [
        ((), {"rounds": 5}, 5), (["rounds=5"], {}, 5), ((), {"rounds": 500}, 50),
        (["pair_rounds=30"], {"rounds": 5}, 30),
    ],
)  # fmt: skip
def test_fewer_rounds_are_fewer_of_pairs(overrides, options, pairs):
    assert FrontierConfig.preset("day").changed(overrides, **options).pair_rounds == pairs


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("num_tuna=48", "num_tuna must be a known key.*num_tune"),
        ("num_tune=0", "num_tune must be at least 4, got 0"),
        ("num_tune=many", "num_tune must be a whole number, got 'many'"),
        ("num_tune", "must be KEY=VALUE, got 'num_tune'.*--set num_tune=48"),
        ("batches=[]", "batches must be a list of at least 1"),
        (
            "saving_steps=[0]",
            r"saving_steps\S+ must be at least 2, got 0",
        ),
        ("teacher_steps.foo=[4]", "teacher_steps.foo"),
        ("guidance=100", "guidance must be at most 20"),
        ("tea_thresholds=[-1]", "tea_thresholds.* must be more than 0"),
    ],
)
def test_other_keys_and_values_are_refused(text, what):
    with pytest.raises(ConfigError, match=f"^--set {what}"):
        FrontierConfig.preset("day").changed([text])


def test_a_size_is_given_once():
    with pytest.raises(ConfigError, match="num_images must not be given beside"):
        FrontierConfig.preset("day").changed(["num_images=100"], num_images=200)


def test_another_preset_is_refused():
    with pytest.raises(ConfigError, match="quick, day or full"):
        FrontierConfig.preset("week")


@pytest.mark.parametrize(
    ("words", "quick"),
    [
        ("--quick --preset full", True), ("--preset quick --out b.json", True),
        ("--preset day", False), ("--out quick", False), ("--preset 'day' --out quick", False),
        ("", False),
    ],
)  # fmt: skip
def test_a_quick_run_is_told_by_either_spelling(words, quick):
    assert is_quick(f"nitrogen bench frontier {words}") is quick
