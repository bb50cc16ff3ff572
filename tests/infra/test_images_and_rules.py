"""Dockerfiles and Prometheus files: what can be checked without building or running them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "infra").glob("*Dockerfile"))


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images_run_as_a_user_and_pin_their_base(path):
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    (base,) = [line for line in lines if line.startswith("FROM ")]
    assert re.fullmatch(r"FROM python:3\.\d+-slim-\w+", base)
    users = [line for line in lines if line.startswith("USER ")]
    assert users == ["USER 1000"]
    assert "constraints.txt" in path.read_text()


def test_copied_files_exist_or_are_built():
    text = (ROOT / "infra" / "Dockerfile").read_text()
    sources = re.findall(r"^COPY (\S+) ", text, re.MULTILINE)
    assert sources == ["constraints.txt", "dist/*.whl", "requirements-features.txt"]
    assert (ROOT / "constraints.txt").is_file()
    assert (ROOT / "requirements-features.txt").is_file()


def test_torch_is_installed_before_the_wheel():
    text = (ROOT / "infra" / "Dockerfile").read_text()
    assert text.index('--index-url "$TORCH_INDEX" torch') < text.index("/opt/nitrogen/*.whl")


def test_prometheus_files_fit_together():
    folder = ROOT / "infra" / "prometheus"
    config = yaml.safe_load((folder / "prometheus.yml").read_text())
    assert [(folder / name).is_file() for name in config["rule_files"]] == [True]
    rules = yaml.safe_load((folder / "rules.yml").read_text())
    names = []
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert rule["expr"].count("(") == rule["expr"].count(")")
            assert ("alert" in rule) == ("annotations" in rule)
            names.append(rule.get("alert") or rule["record"])
    assert len(names) == len(set(names))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_accepts_the_rules():
    rules = ROOT / "infra" / "prometheus" / "rules.yml"
    done = subprocess.run(["promtool", "check", "rules", rules], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
