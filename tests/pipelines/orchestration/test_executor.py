"""What the executor section settles by itself."""

import pytest
from pydantic import ValidationError

from nitrogen.pipelines import executor
from nitrogen.pipelines.executor import ExecutorConfig


@pytest.mark.parametrize(("units", "expected"), [(True, "bf16"), (False, "fp32")])
def test_precision_auto_asks_the_processor(monkeypatch, units, expected):
    monkeypatch.setattr(executor, "has_bf16_units", lambda: units)
    config = ExecutorConfig(kind="local", precision="auto")
    assert config.precision == expected
    assert config.facts()["precision"] == expected  # the key names what is computed


def test_precision_auto_on_a_gpu_is_bf16(monkeypatch):
    monkeypatch.setattr(executor, "has_bf16_units", lambda: False)
    assert ExecutorConfig(device="cuda", precision="auto").precision == "bf16"


def test_unknown_precision_is_refused():
    with pytest.raises(ValidationError, match="precision"):
        ExecutorConfig(precision="fp8")
