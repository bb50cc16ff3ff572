"""Token, environment and addresses without a Ray."""

import os
import stat
import subprocess
import sys

import pytest

from nitrogen.platform import cluster, cluster_folder
from nitrogen.platform.cluster_auth import (
    clean_ray_environment,
    environment,
    find_token,
    write_new_token,
)
from nitrogen.platform.errors import ClusterError, ConfigError


def test_token_file_is_private_and_new_each_time(tmp_path):
    path = tmp_path / "token"
    before = os.umask(0)
    try:
        first, second = write_new_token(path), write_new_token(path)
    finally:
        os.umask(before)
    assert first != second
    assert len(second) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == second


def test_token_is_found_in_rays_order(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_token({}) is None
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("home\n")
    (tmp_path / "file").write_text("file\n")
    assert find_token({}) == "home"
    assert find_token({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "file")}) == "file"
    both = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "file"), "RAY_AUTH_TOKEN": "variable"}
    assert find_token(both) == "variable"
    assert find_token({**both, "RAY_AUTH_MODE": "disabled"}) is None
    with pytest.raises(ClusterError, match="RAY_AUTH_TOKEN_PATH must name a readable file"):
        find_token({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")})


def test_environment_is_put_back(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    before = dict(os.environ)
    with clean_ray_environment(cluster.QUIET):
        assert "RAY_ADDRESS" not in os.environ
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1", "the caller's own setting wins"
        assert os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] == "0"
        os.environ["RAY_AUTH_MODE"] = "token"
    assert dict(os.environ) == before
    with environment({"RAY_ADDRESS": None, "NEW": "x"}):
        assert "RAY_ADDRESS" not in os.environ
    assert dict(os.environ) == before


@pytest.mark.parametrize("address", ["ray://a:1", "http://a:8265"])
def test_other_kinds_of_address_are_refused(address):
    with pytest.raises(ClusterError, match="host:port"):
        cluster.connect(address)


@pytest.mark.parametrize("address", ["a", "a:", ":1", "a:b"])
def test_incomplete_addresses_are_refused(address):
    with pytest.raises(ClusterError, match="address must be host:port"):
        cluster.connect(address)


def test_sizes_and_long_paths_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="object_store_bytes must be at least"):
        cluster.start_embedded(object_store_bytes=1000)
    with pytest.raises(ConfigError, match="temp_dir must be at most 40"):
        cluster.start_embedded(temp_dir=tmp_path / ("x" * 50))


def test_folders_of_killed_processes_are_removed(tmp_path):
    dead = tmp_path / f"{cluster_folder.TEMP_PREFIX}999999999-abc"
    alive = tmp_path / f"{cluster_folder.TEMP_PREFIX}{os.getpid()}-abc"
    for folder in (dead, alive, tmp_path / "other"):
        folder.mkdir()
    assert cluster_folder.remove_stale(tmp_path) == [dead]
    assert alive.exists()
    assert (tmp_path / "other").exists()


def test_children_that_work_in_the_folder_are_ended_and_no_others(tmp_path):
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    ours = subprocess.Popen([*sleep, f"--dir={tmp_path}/session"])
    other = subprocess.Popen(sleep)
    try:
        cluster_folder.end_children(tmp_path)
        assert ours.poll() is not None
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
