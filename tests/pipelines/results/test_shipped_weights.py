"""The shipped weights are those that the published results and the told trainings are of."""

import json

import pytest
import yaml

from nitrogen.pipelines.bench.models import model_digest, weights_digest
from nitrogen.pipelines.remote_folder import fetched
from nitrogen.pipelines.trained_models import model_directory

RESULTS = {"emoji32": "emoji64-at-32-px", "fashion": "fashion-mnist", "scenes64": "scenes64"}


@pytest.mark.parametrize("role", ["teacher", "student"])
@pytest.mark.parametrize("recipe", RESULTS)
def test_results_are_of_the_weights_that_ship(repository, recipe, role):
    published = json.loads((repository / f"docs/results/{RESULTS[recipe]}.json").read_text())
    shipped = model_directory(fetched(f"shipped:{recipe}"), role)
    assert published["models"][role]["sha256"] == weights_digest(shipped)


@pytest.mark.parametrize("recipe", RESULTS)
def test_results_are_of_the_relays_and_prices_that_ship(repository, recipe):
    published = json.loads((repository / f"docs/results/{RESULTS[recipe]}.json").read_text())
    student = model_directory(fetched(f"shipped:{recipe}"), "student")
    assert published["models"]["student"]["digest"] == model_digest(student)


def test_the_attack_is_on_the_student_that_ships(repository):
    attacked = json.loads((repository / "docs/results/attack.json").read_text())
    student = model_directory(fetched("shipped:emoji32"), "student")
    assert attacked["models"]["student"]["digest"] == model_digest(student)


@pytest.mark.parametrize("recipe", ["emoji32", "fashion", "scenes64"])
def test_every_training_has_the_log_that_ends_where_it_ended(repository, recipe):
    folder = repository / "pipelines/weights" / recipe
    trainings = yaml.safe_load((folder / "trainings.yaml").read_text())
    told = [training for of_role in trainings.values() for training in of_role]
    assert {training["log"] for training in told} == {
        path.name for path in folder.glob("*-log*.jsonl")
    }
    for training in told:
        last = (folder / training["log"]).read_text().splitlines()[-1]
        assert json.loads(last)["images"] == training["num_images"]
