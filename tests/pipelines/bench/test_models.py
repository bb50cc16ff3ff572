"""What a benchmark compares, and how it names the pictures."""

from pathlib import Path

import pytest

from nitrogen.pipelines.bench import models
from nitrogen.pipelines.bench.models import load_models, shown_name
from nitrogen.pipelines.data.prepare import prepare
from nitrogen.pipelines.trained_models import model_directory
from nitrogen.platform.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("stored", "drawn", "shown"), [(64, 32, "emoji64 at 32 px"), (32, 32, "emoji64")]
)
def test_pictures_of_another_size_are_named_by_it(stored, drawn, shown):
    assert shown_name("emoji64", stored, drawn) == shown


def test_shipped_models_draw_the_bundled_emoji():
    loaded = load_models()
    assert loaded.name == "emoji64 at 32 px"
    assert loaded.student.predictor is not None
    assert set(loaded.digests) == {"teacher", "student"}


def test_shipped_models_of_other_pictures_want_to_know_where_those_are(monkeypatch):
    named = Path("shipped:fashion")
    monkeypatch.setattr(models, "model_directory", lambda run, role: model_directory(None, role))
    with pytest.raises(ConfigError, match=r"--data must name the pictures .* of fashion, got none"):
        load_models(named)
    assert load_models(named, data="bundled:emoji").data_uri == "bundled:emoji"


def test_pictures_of_other_classes_are_refused(few_pictures, tmp_path):
    prepare(str(few_pictures), str(tmp_path / "data"))
    with pytest.raises(DataError, match=r"--data must hold the teacher's 26 classes, got other"):
        load_models(data=str(tmp_path / "data"))
