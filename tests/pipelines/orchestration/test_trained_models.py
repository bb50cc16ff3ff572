"""What `--run` means: a run folder, or the weights that ship."""

from pathlib import Path

import pytest

from nitrogen.pipelines.trained_models import DEFAULT, model_directory, shipped_name
from nitrogen.platform.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("run", "name"),
    [
        (None, DEFAULT), (Path("shipped"), DEFAULT), (Path("shipped:fashion"), "fashion"),
        (Path("runs/shipped"), None), (Path("shipped-too"), None), ("s3://bucket/run", None),
    ],
)  # fmt: skip
def test_a_name_is_of_shipped_weights_or_of_a_run(run, name):
    assert shipped_name(run) == name


def test_shipped_weights_are_found_by_their_data_set():
    assert model_directory(None).parent.name == DEFAULT
    assert model_directory(Path("shipped:fashion"), "teacher").parent.name == "fashion"


def test_weights_that_do_not_ship_are_told_with_those_that_do():
    with pytest.raises(
        DataError, match=r"ship teacher weights of cats, got those of emoji32, fash"
    ):
        model_directory(Path("shipped:cats"), "teacher")


@pytest.mark.parametrize("name", ["../weights/emoji32", "emoji32/", ".", "/", "emoji32/../fashion"])
def test_a_shipped_name_is_no_path(name):
    with pytest.raises(DataError, match="must ship"):
        model_directory(f"shipped:{name}", "teacher")


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ConfigError):
        model_directory(tmp_path)
