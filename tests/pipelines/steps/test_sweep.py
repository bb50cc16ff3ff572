"""The sweep's section of a recipe."""

import pytest
from pydantic import ValidationError

from nitrogen.pipelines.steps.sweep import SweepConfig


@pytest.mark.parametrize(
    "space",
    [
        {},
        {"threshold": {"low": 0.1, "high": 1}},
        {"gating_penalty": {"low": 0.1, "high": 1}, "threshold": {"choices": [1]}, "width": {}},
    ],
)
def test_a_space_must_name_what_a_trial_reads(space):
    with pytest.raises(ValidationError, match="gating_penalty and threshold"):
        SweepConfig(space=space)


def test_one_choice_fixes_a_value():
    SweepConfig(space={"gating_penalty": {"choices": [0.0]}, "threshold": {"low": 1, "high": 2}})
