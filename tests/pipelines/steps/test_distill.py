"""What a recipe says of a relay, and that it reaches the bundle that is served."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from nitrogen.model.leg import MAX_ROWS
from nitrogen.model.model_directory import LATE_WEIGHTS
from nitrogen.model.pipeline import Pipeline
from nitrogen.model.relay import RelayTable, nested
from nitrogen.pipelines.foreground import _shipped
from nitrogen.pipelines.recipe import load_recipe
from nitrogen.pipelines.steps.distill import DistillConfig, relay_of
from nitrogen.pipelines.trained_models import model_directory

STRIDED = {"strided": True}


@pytest.mark.parametrize(
    "leg",
    [
        (0, 5, 0.1, 7),
        (6, 5, 0.1, 7),
        (2, 5, 6, 7),
        (2, 90, 0.1, 7),
        (2, 5, 0, 7),
        (2, 5, 0.1, 0.5),
        (2, 5, 1e-50, 7),
        (2, 5, 4.9999999, 7),  # 0, and 5, in float32
    ],
)
def test_legs_that_nobody_can_run_are_refused(leg):
    with pytest.raises(ValidationError, match="relay must have 1 to steps - 1 strides"):
        DistillConfig(student=STRIDED, relay={6: leg})


def test_a_student_that_is_not_strided_has_no_relay():
    with pytest.raises(ValidationError, match=r"relay must be empty unless student\.strided"):
        DistillConfig(relay={6: (2, 5, 0.1, 7)})


@pytest.mark.parametrize("name", ["emoji32", "fashion", "scenes64"])
def test_relays_that_ship_are_those_of_the_recipe_and_priced(name):
    told = relay_of(load_recipe(name).recipe.section("distill"))
    relays = list(Pipeline.load(model_directory(Path(f"shipped:{name}"))).relay.each())
    assert [relay.table.rows for relay in relays] == [
        RelayTable.from_json(one["legs"]).rows for one in nested(told)
    ]
    assert all(relay.prices.rows.keys() == relay.table.rows.keys() for relay in relays)


def test_without_rows_there_is_no_relay():
    assert relay_of(DistillConfig()) is None


def test_no_more_rows_are_read_than_a_model_may_have():
    rows = dict.fromkeys(range(3, 4 + MAX_ROWS), (2, 5, 0.1, 7))
    with pytest.raises(ValidationError, match="at most 64 items"):
        DistillConfig(student=STRIDED, relay=rows)


def test_cheaper_relays_are_one_below_the_other_and_as_sound():
    cheaper = [{4: (3, 1.0, 0.15, 3)}, {5: (4, 1.0, 0.15, 3)}]
    rows = {"student": {"strided": True}, "relay": {5: (2, 2.5, 0.15, 3)}}
    told = relay_of(DistillConfig(**rows, cheaper_relays=cheaper))
    assert told["legs"] == {"5": [2, 2.5, 0.15, 3]}
    assert told["cheaper"]["legs"] == {"4": [3, 1.0, 0.15, 3]}
    assert told["cheaper"]["cheaper"] == {"legs": {"5": [4, 1.0, 0.15, 3]}}
    for bad, message in (
        ([{3: (3, 1.0, 0.15, 3)}], "must have 1 to steps - 1 strides"),
        ([{}], "must have rows each"),
        (cheaper * 2, "at most 3 items"),
        (
            [{4: (3, 1, 0.1, 3)}, {4: (2, 1, 0.1, 3)}],
            r"relays\[1\] must have more strides than cheap",
        ),
    ):
        with pytest.raises(ValidationError, match=message):
            DistillConfig(**rows, cheaper_relays=bad)
    with pytest.raises(ValidationError, match="cheaper_relays must be empty unless there is"):
        DistillConfig(**rows | {"relay": {}}, cheaper_relays=cheaper)


def test_the_shipped_relay_is_served_with_its_weights(tmp_path):
    shipped = Pipeline.load(model_directory(None))
    served = Pipeline.load(_shipped(None, tmp_path).source)
    assert (tmp_path / "bundle" / LATE_WEIGHTS).is_file()
    asked = dict(num_inference_steps=4, policy="budget", budget=0.8)
    ours, theirs = (one.generate([3], [1], **asked).images for one in (shipped, served))
    assert (ours == theirs).all()
