"""What a benchmark compares, and how it names the pictures."""

import pytest

from nitrogen.pipelines.bench.models import load_models, shown_name


@pytest.mark.parametrize(
    ("stored", "drawn", "shown"), [(64, 32, "emoji64 at 32 px"), (32, 32, "emoji64")]
)
def test_pictures_of_another_size_are_named_by_it(stored, drawn, shown):
    assert shown_name("emoji64", stored, drawn) == shown


def test_shipped_models_draw_the_bundled_emoji():
    models = load_models()
    assert models.name == "emoji64 at 32 px"
    assert models.student.predictor is not None
    assert set(models.digests) == {"teacher", "student"}
