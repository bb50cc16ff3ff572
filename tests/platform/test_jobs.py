"""The parts of submitting that need no cluster."""

import os
import socket
import zipfile
from types import SimpleNamespace

import pytest

from nitrogen.platform import jobs, wheel
from nitrogen.platform.errors import ClusterError, StorageError
from nitrogen.platform.job_client import dashboard_url


def test_id_depends_on_recipe_and_overrides_not_on_their_order():
    first = jobs.submission_id("name: demo\n", ["a=1", "b=2"], "demo")
    assert first == jobs.submission_id("name: demo\n", ["b=2", "a=1"], "demo")
    assert first != jobs.submission_id("name: demo\n", ["a=1"], "demo")
    assert first != jobs.submission_id("name: other\n", ["a=1", "b=2"], "demo")
    assert jobs.submission_id("x", name="odd name/..").startswith("odd-name-")


def test_secrets_stay_here():
    source = {
        "AWS_ENDPOINT_URL": "http://s3:9000",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_ACCESS_KEY_ID": "s",
        "AWS_SESSION_TOKEN": "s",
        "MLFLOW_TRACKING_URI": "https://user:s@mlflow",
        "MLFLOW_TRACKING_PASSWORD": "s",
        "NITROGEN_API_KEYS": "s",
        "NITROGEN_HOME": "/home",
        "HOME": "/root",
    }
    assert jobs.public_environment(source) == {
        "AWS_ENDPOINT_URL": "http://s3:9000",
        "NITROGEN_HOME": "/home",
    }


def test_entrypoint_quotes_and_runs_on_the_cluster_of_the_job():
    text = jobs.entrypoint(["name=a b; rm -rf /"], "s3://bucket/run")
    assert text == (
        "python -m nitrogen.pipelines.cli run recipe.yaml --set 'name=a b; rm -rf /' "
        "--set executor.kind=address --set executor.address=auto --out s3://bucket/run"
    )


def info(state, code="c"):
    return SimpleNamespace(status=SimpleNamespace(value=state), metadata={"nitrogen.code": code})


@pytest.mark.parametrize(
    ("state", "code", "force", "again"),
    [
        ("RUNNING", "c", False, False),
        ("PENDING", "other", True, False),
        ("SUCCEEDED", "c", False, False),
        ("SUCCEEDED", "other", False, True),
        ("SUCCEEDED", "c", True, True),
        ("FAILED", "c", False, True),
        ("STOPPED", "c", False, True),
    ],
)
def test_when_a_recipe_is_run_again(state, code, force, again):
    assert jobs._again(info(state, code), "c", force) is again


@pytest.mark.parametrize("address", ["ray://host:1", "ftp://x", "http://", ""])
def test_bad_addresses(address):
    with pytest.raises(ClusterError, match="address must be"):
        dashboard_url(address)


def test_dead_address_is_one_sentence():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(ClusterError, match="no Ray cluster answers") as caught:
        jobs.submit("name: x", address=f"127.0.0.1:{port}", wheel="/nowhere")
    assert "\n" not in str(caught.value)


def make_wheel(path, names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return path


def test_unpacked_wheel_holds_the_package_alone(tmp_path):
    made = make_wheel(tmp_path / "a.whl", ["nitrogen/platform/x.py", "a.dist-info/METADATA"])
    package = wheel.unpack_wheel(made, tmp_path / "out")
    assert [p.name for p in package.rglob("*.py")] == ["x.py"]
    assert not (tmp_path / "out" / "a.dist-info").exists()
    os.utime(package / "platform" / "x.py", (1, 1))
    same = wheel.unpack_wheel(made, tmp_path / "again")
    assert wheel.tree_digest(package) == wheel.tree_digest(same)
    (same / "platform" / "y.py").write_text("")
    assert wheel.tree_digest(package) != wheel.tree_digest(same)


@pytest.mark.parametrize("names", [["other/x.py"], ["nitrogen/../../x.py"], []])
def test_wrong_wheels_are_refused(tmp_path, names):
    with pytest.raises(StorageError, match="wheel must hold the package"):
        wheel.unpack_wheel(make_wheel(tmp_path / "a.whl", names), tmp_path / "out")
    with pytest.raises(StorageError, match="readable wheel"):
        wheel.unpack_wheel(tmp_path / "missing.whl", tmp_path / "out")


def test_building_somewhere_else_is_refused(tmp_path):
    with pytest.raises(StorageError, match="source must be the root"):
        wheel.build_wheel(tmp_path, tmp_path / "out")
