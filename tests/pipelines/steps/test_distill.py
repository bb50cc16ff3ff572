"""What a recipe says of a relay, and that it reaches the bundle that is served."""

import pytest
from pydantic import ValidationError

from nitrogen.model.model_directory import LATE_WEIGHTS
from nitrogen.model.pipeline import Pipeline
from nitrogen.model.relay import RelayTable
from nitrogen.pipelines.foreground import _shipped
from nitrogen.pipelines.recipe import load_recipe
from nitrogen.pipelines.steps.distill import DistillConfig, relay_of
from nitrogen.pipelines.trained_models import model_directory

STRIDED = {"strided": True}


@pytest.mark.parametrize(
    "leg",
    [(0, 5, 0.1, 7), (6, 5, 0.1, 7), (2, 5, 6, 7), (2, 90, 0.1, 7), (2, 5, 0, 7), (2, 5, 0.1, 0.5)],
)
def test_legs_that_nobody_can_run_are_refused(leg):
    with pytest.raises(ValidationError, match="relay must have 1 to steps - 1 strides"):
        DistillConfig(student=STRIDED, relay={6: leg})


def test_a_student_that_is_not_strided_has_no_relay():
    with pytest.raises(ValidationError, match=r"relay must be empty unless student\.strided"):
        DistillConfig(relay={6: (2, 5, 0.1, 7)})


@pytest.mark.parametrize("name", ["emoji32", "fashion"])
def test_legs_of_a_recipe_are_those_that_the_model_reads(name):
    told = relay_of(load_recipe(name).recipe.section("distill"))
    assert RelayTable.from_json(told["legs"]).leg(8).early == 2
    assert relay_of(DistillConfig()) is None


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
    ):
        with pytest.raises(ValidationError, match=message):
            DistillConfig(**rows, cheaper_relays=bad)
    with pytest.raises(ValidationError, match="cheaper_relays must be empty unless there is"):
        DistillConfig(**rows | {"relay": {}}, cheaper_relays=cheaper)


def test_the_shipped_relay_is_its_recipes_and_served_with_its_weights(tmp_path):
    shipped = Pipeline.load(model_directory(None))
    told = relay_of(load_recipe("emoji32").recipe.section("distill"))
    assert shipped.relay.table == RelayTable.from_json(told["legs"])
    assert shipped.relay.prices is not None
    served = Pipeline.load(_shipped(None, tmp_path).source)
    assert (tmp_path / "bundle" / LATE_WEIGHTS).is_file()
    asked = dict(num_inference_steps=4, policy="budget", budget=0.8)
    ours, theirs = (one.generate([3], [1], **asked).images for one in (shipped, served))
    assert (ours == theirs).all()
