"""ray_cluster.yaml passes Ray's own validation, and says what the project promises of it."""

import copy
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def config():
    return yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())


@pytest.fixture(scope="module")
def prepared(config):
    from ray.autoscaler._private.util import prepare_config, validate_config

    result = prepare_config(copy.deepcopy(config))
    validate_config(result)
    return result


def test_ray_accepts_it(prepared):
    assert set(prepared["available_node_types"]) == {"head", "cpu", "gpu", "gpu_spot"}
    assert prepared["head_node_type"] == "head"


def test_ray_would_refuse_a_typo(config):
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    wrong = copy.deepcopy(config)
    wrong["available_node_types"]["cpu"]["max_worker"] = 1
    with pytest.raises(ValidationError):
        validate_config(prepare_config(wrong))


def test_only_the_spot_type_is_spot_and_the_head_never_is(config):
    spot = [
        name
        for name, kind in config["available_node_types"].items()
        if kind["node_config"].get("InstanceMarketOptions", {}).get("MarketType") == "spot"
    ]
    assert spot == ["gpu_spot"]
    assert config["available_node_types"]["head"]["resources"] == {"CPU": 0}


def test_every_start_asks_for_the_token_and_every_node_gets_it(config):
    starts = [
        command
        for key in ("head_start_ray_commands", "worker_start_ray_commands")
        for command in config[key]
        if "ray start" in command
    ]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in command for command in starts)
    assert "/home/ubuntu/.ray/auth_token" in config["file_mounts"]
    assert any("chmod 600" in command for command in config["setup_commands"])


def test_ports_do_not_meet_rays_worker_ports(config):
    text = " ".join(config["head_start_ray_commands"])
    ports = [int(port) for port in re.findall(r"port=(\d+)", text)]
    assert ports
    assert not [port for port in ports if 10002 <= port <= 19999]


def test_disks_are_encrypted_and_metadata_needs_a_session(config):
    for name, kind in config["available_node_types"].items():
        node = kind["node_config"]
        assert node["MetadataOptions"]["HttpTokens"] == "required", name
        assert all(disk["Ebs"]["Encrypted"] for disk in node["BlockDeviceMappings"]), name


def test_commands_are_whole(config):
    """A ` #` in an unquoted command would be a comment of YAML."""
    keys = ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands")
    script = "\n".join(command for key in keys for command in config[key])
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_run_folders_lie_on_shared_storage_where_one_is_given(config):
    (mount,) = [command for command in config["setup_commands"] if "/runs" in command]
    assert "shared-filesystem" in mount
    assert "mountpoint -q /runs" in mount, "a second `ray up` must not mount it twice"


def test_the_wheel_is_what_is_installed(config):
    project = (ROOT / "pyproject.toml").read_text()
    name = re.search(r'^name = "(.+)"', project, re.MULTILINE).group(1).replace("-", "_")
    assert any(f"{name}-*.whl" in command for command in config["setup_commands"])
