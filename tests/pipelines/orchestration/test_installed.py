"""A printed command can be pasted: its name where the shell finds it, else its path."""

import sys

import pytest

from nitrogen.pipelines.installed import installed


@pytest.fixture
def bin_folder(tmp_path, monkeypatch):
    folder = tmp_path / "a b" / "bin"
    folder.mkdir(parents=True)
    for name in ("python", "mlflow"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    return folder


def test_a_path_where_the_shell_finds_nothing(bin_folder, monkeypatch):
    assert installed("mlflow") == f"'{bin_folder}/mlflow'"
    monkeypatch.chdir(bin_folder.parent)
    assert installed("mlflow") == "bin/mlflow"


def test_the_name_where_the_shell_finds_it_or_nobody_does(bin_folder, monkeypatch):
    assert installed("nitrogen") == "nitrogen"
    monkeypatch.setenv("PATH", str(bin_folder))
    assert installed("mlflow") == "mlflow"
