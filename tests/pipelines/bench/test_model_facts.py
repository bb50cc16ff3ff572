"""What a file says of its models: the pictures of all trainings, where they are told."""

import json

import pytest

from nitrogen.pipelines.bench.model_facts import model_facts

SHIPPED = {
    "teacher": 350_016 + 220_032,
    "student": 4_800 + 27_008 + 40_000 + 90_048 + 51_200 + 45_056 + 50_048 + 70_016,
}


def test_the_shipped_models_saw_the_pictures_of_all_their_trainings(repository):
    facts = model_facts(None)
    assert {role: one["num_images"] for role, one in facts.items()} == SHIPPED
    # The README says the same of the teacher.
    text = (repository / "README.md").read_text().replace("\n", " ")
    assert f"{facts['teacher']['parameters'] / 1e6:.2f} M parameters) has seen 570,000" in text


@pytest.fixture
def thin(models, tmp_path):
    models.teacher.save(tmp_path / "teacher", num_images=7)
    return tmp_path / "teacher"


@pytest.mark.parametrize(
    ("trainings", "told"),
    [
        (None, 7),
        ({"teacher": [5, 7]}, 12),
        ({"student": [5, 7]}, 7),
        ({"teacher": [5, 6]}, 7),  # of other weights than those that lie here
    ],
)
def test_trainings_count_where_the_last_is_the_models_own(thin, trainings, told):
    if trainings is not None:
        listed = {role: [{"num_images": n} for n in counts] for role, counts in trainings.items()}
        (thin.parent / "trainings.yaml").write_text(json.dumps(listed))
    assert model_facts(None, [thin])["thin teacher"]["num_images"] == told


def test_a_step_tells_of_a_model_that_does_not(models, tmp_path):
    models.teacher.save(tmp_path / "teacher")
    (tmp_path / "result.json").write_text(json.dumps({"num_images": 9}))
    assert model_facts(None, [tmp_path / "teacher"])["thin teacher"]["num_images"] == 9
