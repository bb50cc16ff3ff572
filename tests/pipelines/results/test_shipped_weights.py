"""The shipped weights are those that the published results and the told legs are of."""

import json

import pytest
import yaml

from nitrogen.pipelines.bench.models import weights_digest
from nitrogen.pipelines.trained_models import model_directory


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_results_are_of_the_weights_that_ship(repository, role):
    published = json.loads((repository / "docs/results/emoji64-at-32-px.json").read_text())
    assert published["models"][role]["sha256"] == weights_digest(model_directory(None, role))


@pytest.mark.parametrize("recipe", ["emoji32", "fashion", "scenes64"])
def test_every_leg_has_the_log_that_ends_where_it_ended(repository, recipe):
    folder = repository / "pipelines/weights" / recipe
    legs = yaml.safe_load((folder / "legs.yaml").read_text())
    told = [leg for of_role in legs.values() for leg in of_role]
    assert {leg["log"] for leg in told} == {path.name for path in folder.glob("*-log*.jsonl")}
    for leg in told:
        last = (folder / leg["log"]).read_text().splitlines()[-1]
        assert json.loads(last)["images"] == leg["num_images"]
