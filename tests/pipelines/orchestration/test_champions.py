"""`promote` and `rollback` from the command line, on the registry of a run folder."""

import json

import fake_generator
import pytest

from nitrogen.pipelines import cli
from nitrogen.pipelines.recipe import load_recipe
from nitrogen.platform.registry import Registry

GATES = "promote.gates=[{metric: fd_lite0, op: <=, bound: 10.0}]"


@pytest.fixture
def run(tmp_path):
    """A run folder whose registry has two good versions and a third beyond the gate."""
    recipe = load_recipe("demo", [GATES]).recipe
    (tmp_path / "recipe.json").write_text(json.dumps(recipe.canonical()))
    registry = Registry(f"sqlite:///{tmp_path}/mlflow.db")
    for index, distance in enumerate((5.0, 4.0, 11.0)):
        bundle = fake_generator.make_bundle(tmp_path / str(index), color=(index, 0, 0))
        registry.register(bundle, "emoji-demo", metrics={"fd_lite0": distance})
    return tmp_path


@pytest.mark.slow
def test_promote_and_roll_back(run, capsys):
    def told(*arguments, code=0):
        assert cli.invoke([*arguments, "--run", str(run)]) == code
        printed = capsys.readouterr()
        return printed.out if code == 0 else printed.err

    def champion():
        return Registry(f"sqlite:///{run}/mlflow.db").aliases("emoji-demo").get("champion")

    assert "3" in told("promote", code=8)  # the newest, whose distance no gate lets through
    assert champion() is None
    told("promote", "--version", "1")
    assert json.loads(told("promote", "--version", "2", "--json"))["to_version"] == "2"
    assert champion() == "2"
    assert json.loads(told("rollback", "--json"))["to_version"] == "1"
    assert champion() == "1"
    assert json.loads(told("rollback", "--json"))["to_version"] == "2", "undoes the first"
