"""The doctor finds what is wrong, says what to do, and shows no secret."""

from __future__ import annotations

import importlib.metadata
import json
import socket
from pathlib import Path

import pytest

from nitrogen.pipelines import cli, doctor, doctor_machine, doctor_setup
from nitrogen.pipelines.doctor_check import Check
from nitrogen.pipelines.masking import mask_secrets


def by_name(checks) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_a_taken_port_is_a_warning_with_a_fix():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (check,) = doctor_setup.free_ports((port,))
    assert check.status == "WARN"
    assert str(port) in check.detail
    assert check.fix


def test_versions_outside_their_range_fail(monkeypatch):
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "ray":
            return "2.9.0"
        if name == "mlflow":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    (check,) = doctor_machine.packages()
    assert check.status == "FAIL"
    assert "ray 2.9.0 is outside" in check.detail
    assert "mlflow is missing" in check.detail


def test_a_shadowing_platform_folder_fails(tmp_path):
    (tmp_path / "platform").mkdir()
    assert next(doctor_setup.platform_module(tmp_path)).status == "OK"
    (tmp_path / "platform/__init__.py").touch()
    assert next(doctor_setup.platform_module(tmp_path)).status == "FAIL"


def test_mlflow_store(tmp_path):
    (tmp_path / "mlruns").mkdir()
    found = by_name(doctor_setup.mlflow_store(tmp_path))
    assert found["mlflow"].status == "WARN"
    assert found["mlflow database"].status == "OK"
    assert by_name(doctor_setup.mlflow_store(tmp_path / "none"))["mlflow database"].status == "FAIL"


def test_a_token_that_others_can_read_is_a_warning(tmp_path, monkeypatch):
    token = tmp_path / "token"
    token.write_text("x")
    token.chmod(0o644)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    assert next(doctor_setup.authentication()).status == "WARN"
    token.chmod(0o600)
    assert next(doctor_setup.authentication()).status == "OK"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert next(doctor_setup.authentication()).status == "WARN"


def test_secrets_are_masked(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret-value")
    monkeypatch.setenv("NITROGEN_API_KEYS", "key-number-one,key-number-two")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://user:hunter22@mlflow.example/x")
    found = [
        *doctor_setup.environment(),
        *doctor_setup.authentication(),
        *doctor_setup.mlflow_store(Path()),
    ]
    text = " ".join(check.detail for check in found)
    for secret in ("very-secret", "key-number", "hunter22"):
        assert secret not in text
    assert "2 API keys set" in text
    assert "https://****@mlflow.example/x" in text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("token is abcdefgh!", "token is ****!"),
        ("path /home/tokens stays", "path /home/tokens stays"),
        ("s3://id:longsecret@host/x", "s3://****@host/x"),
        ("http://host:8000/x stays", "http://host:8000/x stays"),
    ],
)
def test_mask_secrets(text, masked):
    environment = {"MY_TOKEN": "abcdefgh", "RAY_AUTH_TOKEN_PATH": "/home/tokens", "X_TOKEN": "is"}
    assert mask_secrets(text, environment) == masked


def test_a_broken_check_does_not_hide_the_others(monkeypatch, tmp_path):
    def broken():
        raise RuntimeError("no /proc here")
        yield

    monkeypatch.setattr(doctor, "memory", broken)
    monkeypatch.setattr(doctor, "accelerators", lambda: iter(()))
    found = by_name(doctor.examine(ports=(), folder=tmp_path))
    assert found["memory"].status == "FAIL"
    assert found["platform module"].status == "OK"


def test_command(monkeypatch, capsys):
    checks = [Check("a", "OK", "fine"), Check("b", "FAIL", "bad", "Mend it.")]
    monkeypatch.setattr(doctor, "examine", lambda **_: checks)
    assert cli.invoke(["doctor"]) == 1
    assert "FAIL  b: bad\n      Mend it." in capsys.readouterr().out
    monkeypatch.setattr(doctor, "examine", lambda **_: checks[:1])
    assert cli.invoke(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
