"""Shares, stability and guarantees of the splits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nitrogen.pipelines.data.splits import split_by_hash, split_small
from nitrogen.platform.errors import DataError

NONE: frozenset[str] = frozenset()


def test_the_shares_are_about_ninety_five_and_five():
    splits = [split_by_hash(f"picture {i}", None, NONE) for i in range(10_000)]
    assert 8_900 < splits.count("train") < 9_100
    assert 430 < splits.count("validation") < 570
    assert 430 < splits.count("test") < 570


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"train", "test"}, {"train", "validation"}),
        ({"train", "validation"}, {"train", "test"}),
        ({"train", "validation", "test"}, {"train"}),
        ({"train"}, {"train", "validation", "test"}),
        ({"test"}, {"train", "validation", "test"}),
    ],
)
def test_only_missing_splits_are_taken_out_of_train(own: set[str], expected: set[str]):
    mine = "train" if "train" in own else "test"
    assert {split_by_hash(str(i), mine, frozenset(own)) for i in range(500)} == expected


def test_the_sources_own_test_split_stays_whole():
    own = frozenset({"train", "test"})
    assert {split_by_hash(str(i), "test", own) for i in range(500)} == {"test"}


@given(st.lists(st.integers(0, 4), min_size=3, max_size=80))
def test_a_small_source_fills_every_split_and_trains_every_class(labels: list[int]):
    keys = [f"{label}/{i}" for i, label in enumerate(labels)]
    splits = split_small(keys, labels, [None] * len(labels), NONE)
    assert set(splits) == {"train", "validation", "test"}
    trained = {label for label, split in zip(labels, splits, strict=True) if split == "train"}
    large = {label for label in labels if labels.count(label) >= 3}
    assert large <= trained
    assert min(splits.count("validation"), splits.count("test")) >= min(3, len(large))
    for label in large:
        mine = [s for s, other in zip(splits, labels, strict=True) if other == label]
        assert "validation" in mine
        assert "test" in mine


def test_a_small_source_with_a_test_part_gives_validation_only():
    own = ["train"] * 20 + ["test"] * 5
    splits = split_small([str(i) for i in range(25)], [0] * 25, own, frozenset({"train", "test"}))
    assert splits[20:] == ["test"] * 5
    assert splits[:20].count("validation") == 3, "KID needs three"
    assert splits[:20].count("test") == 0


@given(st.randoms())
def test_the_order_of_the_pictures_does_not_matter(random):
    keys = [str(i) for i in range(40)]
    expected = dict(zip(keys, split_small(keys, [0] * 40, [None] * 40, NONE), strict=True))
    random.shuffle(keys)
    found = dict(zip(keys, split_small(keys, [0] * 40, [None] * 40, NONE), strict=True))
    assert found == expected


def test_two_pictures_are_too_few():
    with pytest.raises(DataError, match="at least 3 readable pictures"):
        split_small(["a", "b"], [0, 1], [None, None], NONE)
