"""JSON for people too: what belongs together stays on a line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nitrogen.pipelines.commands.output import spread

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=20,
)


@given(VALUES)
def test_it_is_the_same_value(value):
    if not _infinite(value):
        assert json.loads(spread(value)) == value


def _infinite(value) -> bool:
    return "Infinity" in json.dumps(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 2.5], "b": {}}, '{\n  "a": [1, 2.5],\n  "b": {}\n}'),
        ([[1, 2], [3, 4]], "[[1, 2], [3, 4]]"),
        ([[[1], [2]], [[3], [4]]], "[\n  [[1], [2]],\n  [[3], [4]]\n]"),
        (["a", 1], '[\n  "a",\n  1\n]'),
        ([], "[]"),
    ],
)
def test_a_table_of_numbers_is_a_line(value, text):
    assert spread(value) == text
